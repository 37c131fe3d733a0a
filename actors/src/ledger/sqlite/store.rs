//! The ledger's file as a [`Store`].

use std::path::Path;

use super::marks_check::MarksCheck;
use super::open::{OpenError, Opened, open};
use super::schema;
use super::sweep::Sweep;
use super::transaction::SqliteTransaction;
use crate::ledger::failure::StoreError;
use crate::ledger::states::RowCounts;
use crate::ledger::store::{Deleted, Expiry, Store};

/// A ledger in one file of SQLite, which only this process writes.
#[derive(Debug)]
pub struct SqliteStore {
    pub(super) opened: Opened,
    sweep: Sweep,
    marks_check: MarksCheck,
}

impl SqliteStore {
    /// Opens the ledger at `path`, making an empty one if there is none.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self { opened: open(path)?, sweep: Sweep::default(), marks_check: MarksCheck::new() })
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // The next open finds a log that is gone, or a mark that is still right.
        if let Err(error) = self.opened.synced.release(&self.opened.connection) {
            tracing::warn!(%error, "log of the ledger not written back at the end");
        }
    }
}

impl Opened {
    fn begin(&mut self, now_ms: i64) -> rusqlite::Result<SqliteTransaction<'_>> {
        let rows = &mut self.rows;
        let times = (self.term, now_ms);
        SqliteTransaction::begin(&self.connection, &mut self.ids, &mut rows.corrupt, &mut rows.memory, times)
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

    fn corrupt_rows(&self) -> u64 {
        self.opened.rows.corrupt.count()
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        Ok(schema::touch(&self.opened.connection)?)
    }

    fn delete_expired(&mut self, expiry: &Expiry) -> Result<Deleted, StoreError> {
        // No row gets the time of this transaction.
        let mut transaction = self.opened.begin(0)?;
        // Its position moves with the transaction, or the next sweep would begin behind rows that are still there.
        let mut sweep = self.sweep.clone();
        let deleted = sweep.delete(&mut transaction, expiry)?;
        transaction.write()?;
        self.sweep = sweep;
        Ok(deleted)
    }

    fn check_rows(&mut self) -> Result<bool, StoreError> {
        let Opened { connection, rows, .. } = &mut self.opened;
        Ok(self.marks_check.check(connection, &mut rows.corrupt)?)
    }

    fn check_files(&mut self) -> Option<String> {
        self.opened.files.check()
    }
}
