//! The ledger in one file of SQLite, on a local disk.
//!
//! Here alone are SQL, the schema and its migrations, checksums of rows, the place of the file, and what the thread holds in
//! memory instead of indexes.

mod belonging; // Whose a row is.
mod carry_over;
mod connect;
mod duplicates;
mod erasing; // What the ledger has of a person.
mod error;
mod examination; // The files before they are opened.
mod export; // All rows with their texts.
mod file_check; // Whether the files are still at their paths.
mod free_pages; // Filled with zeros.
mod head_page;
mod high_water;
mod history;
mod inbound;
mod listing; // Rows for operators.
mod loading;
mod log_scan;
mod marks;
mod memory;
mod migration;
mod names;
mod oldest; // When the oldest rows were recorded.
mod open;
mod open_rows;
mod operations;
mod outbound;
pub mod peek;
pub mod place;
mod refusals;
mod renewal;
mod restarts;
mod row;
mod rows_check;
mod scan; // Marks, gone through a page at a time.
mod schema;
mod sent_again; // The replies that an operator has sent again.
mod sessions;
mod store;
mod structure_check;
mod sweep;
mod terms;
mod transaction;
mod unread;
mod whole_rows;

#[cfg(test)]
pub(super) mod tests;

use std::path::Path;

pub use open::OpenError;
pub use store::SqliteStore;

use crate::ledger::handle::LedgerWriter;

impl LedgerWriter<SqliteStore> {
    /// Opens the ledger at `path`, creating it if necessary, and starts its thread. Blocks: some milliseconds, or as long as
    /// the disk takes to copy the file twice, if it is damaged.
    ///
    /// # Errors
    /// [`OpenError`]; nothing is deleted in any case.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let store = SqliteStore::open(path)?;
        Self::start(store, path.to_owned()).map_err(|source| OpenError::File { path: path.to_owned(), source })
    }
}
