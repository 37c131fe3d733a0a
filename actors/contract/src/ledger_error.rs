//! Why the ledger refuses a message.

/// Why the ledger refused a message. In every case nothing of it is on disk, and nothing is owed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The disk or the file accepts no writes; worth retrying later.
    #[error("the ledger cannot be written: {0}")]
    Unwritable(String),
    /// A row does not match its checksum.
    #[error("row {row} of table {table} is corrupt")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row.
        row: i64,
    },
    /// There is no such row, or the retention deleted it; retrying cannot help.
    #[error("table {table} has no row {row}")]
    Missing {
        /// The table.
        table: &'static str,
        /// The row.
        row: i64,
    },
    /// This row is in a final state, so its event must not run, or its reply not be sent.
    #[error("row {row} is in a final state")]
    Final {
        /// The row.
        row: i64,
    },
    /// The writer has ended; the process is stopping.
    #[error("the ledger is closed")]
    Closed,
}
