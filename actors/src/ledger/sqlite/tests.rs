//! What is SQLite's own: its files, its rows as another program finds or changes them, and what is in memory beside them.

mod damage;
mod damaged_files;
mod erasing;
mod exchanged_files;
mod kill;
mod listing;
mod memory;
mod migrating;
mod place;
mod power_cut;
mod rows;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::SqliteStore;
use super::transaction::SqliteTransaction;
use crate::ledger::LedgerWriter;
use crate::ledger::tests::{CEILING, TestHome, close, event, mark, record, reply, session, wait};
use caduceus_contract::messages::ledger::*;
use caduceus_contract::share::DispatchShare;

/// A ledger in a separate directory.
pub(in crate::ledger) struct Home {
    _directory: TempDir,
    pub(in crate::ledger) path: PathBuf,
}

impl TestHome for Home {
    type Store = SqliteStore;

    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        Self { _directory: directory, path }
    }

    fn open_store(&self) -> SqliteStore {
        SqliteStore::open(&self.path).unwrap()
    }

    fn open(&self) -> LedgerWriter<SqliteStore> {
        LedgerWriter::open(&self.path).unwrap()
    }
}

impl Home {
    /// Another connection to the same file.
    pub(in crate::ledger) fn peek(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(&self.path).unwrap()
    }

    /// The same, if its directory was moved to this place.
    pub(in crate::ledger) fn peek_at(&self, directory: &Path) -> rusqlite::Connection {
        rusqlite::Connection::open(directory.join(self.path.file_name().unwrap())).unwrap()
    }
}

/// Waits until the check after the start has found this number of corrupt rows.
fn until_corrupt(writer: &LedgerWriter<SqliteStore>, rows: u64) {
    let begun = std::time::Instant::now();
    while writer.view().corrupt != rows {
        assert!(begun.elapsed() < CEILING, "not found within the timeout: {:?}", writer.view());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// The rows of all conversations.
fn history_rows(home: &Home) -> i64 {
    home.peek().query_row("SELECT count(*) FROM history", [], |row| row.get(0)).unwrap()
}

/// Commits in the write-ahead log: its frames with the size of the database after them.
pub(in crate::ledger) fn commits_in_log(path: &Path) -> usize {
    let log = std::fs::read(format!("{}-wal", path.display())).unwrap();
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let page = usize::try_from(number(&log[8..12])).unwrap();
    log[32..].chunks_exact(24 + page).filter(|frame| number(&frame[4..8]) != 0).count()
}

impl SqliteStore {
    pub(in crate::ledger) fn connection(&self) -> &rusqlite::Connection {
        &self.opened.connection
    }
}

impl SqliteTransaction<'_> {
    pub(in crate::ledger) fn connection(&self) -> &rusqlite::Connection {
        self.connection
    }
}
