//! The ledger's file as a [`Store`].

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::connect::BUSY_TIMEOUT;
use super::free_pages;
use super::oldest::Oldest;
use super::open::{OpenError, Opened, open};
use super::row::is_damage;
use super::rows_check::RowsCheck;
use super::schema;
use super::structure_check::{StructureCheck, StructureFindings};
use super::sweep::Sweep;
use super::transaction::SqliteTransaction;
use super::unread;
use crate::ledger::failure::{ErrorClass, StoreError};
use crate::ledger::states::{OldestRows, RowCounts};
use crate::ledger::store::{Deleted, Expiry, Store};

/// A ledger in one file of SQLite, which only this process writes.
#[derive(Debug)]
pub struct SqliteStore {
    /// Ended before the connection of the writer is closed, so it is declared above it.
    structure: Checked,
    pub(super) opened: Opened,
    sweep: Sweep,
    rows_check: RowsCheck,
    oldest: Oldest,
    path: PathBuf,
}

/// The check of the structure.
#[derive(Debug)]
enum Checked {
    NotYet,
    Runs(StructureCheck),
    Done,
}

impl SqliteStore {
    /// Opens the ledger at `path`, making an empty one if there is none.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self {
            structure: Checked::NotYet,
            opened: open(path)?,
            sweep: Sweep::default(),
            rows_check: RowsCheck::default(),
            oldest: Oldest::default(),
            path: path.to_owned(),
        })
    }

    /// Starts the check of the structure, or looks whether it has ended. Returns whether it has not.
    fn check_structure(&mut self) -> rusqlite::Result<bool> {
        let findings = match &self.structure {
            Checked::NotYet => match StructureCheck::start(&self.path) {
                Ok(check) => {
                    self.structure = Checked::Runs(check);
                    return Ok(true);
                }
                Err(error) => {
                    tracing::warn!(%error, "structure of the ledger not checked");
                    None
                }
            },
            Checked::Runs(check) => match check.findings() {
                None => return Ok(true),
                findings => findings,
            },
            Checked::Done => return Ok(false),
        };
        self.structure = Checked::Done;
        match findings {
            Some(Ok(findings)) => self.opened.mend(findings)?,
            Some(Err(error)) if is_damage(&error) => self.opened.flag(error.to_string()),
            Some(Err(error)) => tracing::warn!(%error, "structure of the ledger not checked"),
            None => {}
        }
        Ok(false)
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.structure = Checked::Done;
        // The next open finds a log that is gone, or a mark that is still right.
        if let Err(error) = self.opened.synced.release(&self.opened.connection) {
            tracing::warn!(%error, "log of the ledger not written back at the end");
        }
    }
}

/// The names of files beside the ledger that may have copies of its rows.
fn copies(path: &Path) -> io::Result<Vec<String>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let beginning = format!("{name}.damaged-");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?.file_name().to_string_lossy().into_owned();
        found.extend(entry.starts_with(&beginning).then_some(entry));
    }
    found.sort();
    Ok(found)
}

impl Opened {
    /// Makes indexes again that do not agree with their tables. Other damage is for the next start, which makes a new file.
    fn mend(&mut self, findings: StructureFindings) -> rusqlite::Result<()> {
        for damage in findings.damage {
            self.flag(damage);
        }
        for index in findings.indexes {
            match self.connection.execute_batch(&format!("REINDEX {index}")) {
                Ok(()) => self.rows.corrupt.add_place(format!("index {index}: made again")),
                Err(error) if is_damage(&error) => self.flag(format!("index {index}: {error}")),
                Err(error) => return Err(error),
            }
        }
        self.rows.memory.forget_sessions();
        match unread::mend(&self.connection) {
            Ok(false) => {}
            Ok(true) => self.rows.corrupt.add_place("table unread: made again".to_owned()),
            Err(error) if is_damage(&error) => self.flag(format!("table unread: {error}")),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn flag(&mut self, damage: String) {
        self.rows.corrupt.add_place(damage);
        if let Err(error) = self.synced.set_damaged() {
            tracing::warn!(%error, "damage to the ledger not noted for the next start");
        }
    }

    fn begin(&mut self, now_ms: i64) -> rusqlite::Result<SqliteTransaction<'_>> {
        let rows = &mut self.rows;
        let times = (self.term, now_ms);
        let mut transaction =
            SqliteTransaction::begin(&self.connection, &mut self.ids, &mut rows.corrupt, &mut rows.memory, times)?;
        transaction.missing = self.files.missing();
        Ok(transaction)
    }
}

impl Store for SqliteStore {
    type Transaction<'a> = SqliteTransaction<'a>;

    fn begin(&mut self, now_ms: i64) -> Result<SqliteTransaction<'_>, StoreError> {
        Ok(self.opened.begin(now_ms)?)
    }

    fn row_counts(&self) -> RowCounts {
        self.opened.rows.row_counts
    }

    fn oldest_rows(&mut self) -> OldestRows {
        let Opened { connection, rows, .. } = &self.opened;
        self.oldest.read(connection, &rows.memory)
    }

    fn corrupt_rows(&self) -> u64 {
        self.opened.rows.corrupt.count()
    }

    fn damage(&self) -> &[String] {
        self.opened.rows.corrupt.places()
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        match self.opened.files.missing() {
            Some(missing) => Err(StoreError::temporary(missing)),
            None => Ok(schema::touch(&self.opened.connection)?),
        }
    }

    fn delete_expired(&mut self, expiry: &Expiry) -> Result<Deleted, StoreError> {
        // No row gets the time of this transaction.
        let mut transaction = self.opened.begin(0)?;
        // Its position moves with the transaction, or the next sweep would begin behind rows that are still there.
        let mut sweep = self.sweep.clone();
        let mut deleted = sweep.delete(&mut transaction, expiry)?;
        deleted.more |= free_pages::release_abandoned(&mut transaction)?;
        transaction.write()?;
        self.sweep = sweep;
        Ok(deleted)
    }

    fn check_rows(&mut self) -> Result<bool, StoreError> {
        let Opened { connection, rows, .. } = &mut self.opened;
        let places = rows.corrupt.places().len();
        let more_rows = self.rows_check.check(connection, &mut rows.corrupt)?;
        if rows.corrupt.places().len() > places
            && let Err(error) = self.opened.synced.set_damaged()
        {
            tracing::warn!(%error, "damage to the ledger not noted for the next start");
        }
        Ok(self.check_structure()? || more_rows)
    }

    fn check_again(&mut self) {
        self.rows_check = RowsCheck::default();
        self.structure = Checked::NotYet;
    }

    fn clear_log(&mut self) -> Result<Vec<String>, StoreError> {
        let Opened { connection, synced, .. } = &self.opened;
        let temporary = |text: String| StoreError { class: ErrorClass::Temporary, text };
        // First, because the next open would look for frames of a log that is cut off.
        synced.release(connection).map_err(|error| temporary(error.to_string()))?;
        // A reader of the log is not waited for: nothing else could be written meanwhile.
        connection.busy_timeout(Duration::ZERO)?;
        let is_busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get::<_, bool>(0));
        connection.busy_timeout(BUSY_TIMEOUT)?;
        if is_busy? {
            return Err(temporary("something reads the log at this moment".to_owned()));
        }
        copies(&self.path).map_err(|error| temporary(error.to_string()))
    }

    fn check_files(&mut self) -> Option<String> {
        self.opened.files.check()
    }
}
