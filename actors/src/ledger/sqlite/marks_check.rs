//! The check of all marks after the start, in slices.
//!
//! A row whose state became a finished one by damage is not read again, so nothing else would report it.

use rusqlite::Connection;

use super::marks::{self, MARK_COLUMNS};
use super::row::{CorruptRow, verify};
use super::transaction::CorruptRows;

/// Rows per slice: less than a millisecond.
const PAGE: i64 = 1_000;

/// A table of marks: its table in errors, the part of its checksum, and how its rows are read.
struct CheckedTable {
    name: &'static str,
    part: &'static str,
    columns: usize,
    sql: &'static str,
}

const TABLES: [CheckedTable; 2] = [
    CheckedTable {
        name: marks::INBOUND_TABLE,
        part: marks::INBOUND,
        columns: MARK_COLUMNS,
        sql: "SELECT id, state, attempts, turn, note, changed_at_ms, begun_at_ms, term, state_sum FROM inbound_marks \
              WHERE id > ? ORDER BY id LIMIT ?",
    },
    CheckedTable {
        name: marks::OUTBOUND_TABLE,
        part: marks::OUTBOUND,
        columns: MARK_COLUMNS,
        sql: "SELECT id, state, attempts, message_id, error, changed_at_ms, sent_at_ms, term, state_sum FROM outbound_marks \
              WHERE id > ? ORDER BY id LIMIT ?",
    },
];

/// The position of the check.
#[derive(Debug)]
pub(super) struct MarksCheck {
    table: usize,
    after: i64,
}

impl MarksCheck {
    /// At the first row.
    pub(super) fn new() -> Self {
        Self { table: 0, after: i64::MIN }
    }

    /// Checks the next slice. Corrupt rows are recorded. Returns whether some are left.
    pub(super) fn check(&mut self, connection: &Connection, corrupt: &mut CorruptRows) -> rusqlite::Result<bool> {
        let Some(table) = TABLES.get(self.table) else { return Ok(false) };
        let mut statement = connection.prepare_cached(table.sql)?;
        let mut rows = statement.query([self.after, PAGE])?;
        let mut read = 0;
        while let Some(row) = rows.next()? {
            self.after = row.get(0)?;
            read += 1;
            if let Err(CorruptRow) = verify(table.part, self.after, row, 1, table.columns) {
                drop(corrupt.add(table.name, self.after));
            }
        }
        if read < PAGE {
            *self = Self { table: self.table + 1, after: i64::MIN };
        }
        Ok(self.table < TABLES.len())
    }
}
