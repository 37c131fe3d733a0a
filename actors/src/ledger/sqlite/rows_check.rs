//! The check of all rows after the start, in slices.
//!
//! A row whose state became a finished one by damage is not read again, nor is one whose partner in the other table is gone, so nothing
//! else would report it.

use std::time::{Duration, Instant};

use rusqlite::{Connection, Row};

use super::history;
use super::inbound;
use super::marks::{self, MARK_COLUMNS};
use super::outbound;
use super::restarts;
use super::row::{CorruptRow, is_damage, verify};
use super::sent_again;
use super::terms;
use super::transaction::CorruptRows;

/// Rows per slice: a millisecond or two; fewer, if they are long.
const PAGE: i64 = 500;
const SLICE: Duration = Duration::from_millis(10);

/// A table: its name in errors, how its rows are read after one of them, and whether a row is good.
struct CheckedTable {
    name: &'static str,
    sql: &'static str,
    is_good: fn(i64, &Row<'_>) -> Result<(), CorruptRow>,
}

const TABLES: [CheckedTable; 8] = [
    CheckedTable {
        name: marks::INBOUND_TABLE,
        sql: "SELECT marks.id, state, attempts, turn, note, changed_at_ms, begun_at_ms, marks.term, state_sum, inbound.id \
              FROM inbound_marks AS marks LEFT JOIN inbound USING (id) WHERE marks.id > ? ORDER BY marks.id LIMIT ?",
        is_good: |id, row| is_good_pair(marks::INBOUND, id, row, MARK_COLUMNS),
    },
    CheckedTable {
        name: marks::OUTBOUND_TABLE,
        sql: "SELECT marks.id, state, attempts, marks.message_id, error, changed_at_ms, sent_at_ms, marks.term, state_sum, \
              outbound.id FROM outbound_marks AS marks LEFT JOIN outbound USING (id) WHERE marks.id > ? \
              ORDER BY marks.id LIMIT ?",
        is_good: |id, row| is_good_pair(marks::OUTBOUND, id, row, MARK_COLUMNS),
    },
    CheckedTable {
        name: marks::INBOUND_TABLE,
        sql: "SELECT inbound.*, marks.id FROM inbound LEFT JOIN inbound_marks AS marks USING (id) \
              WHERE inbound.id > ? ORDER BY inbound.id LIMIT ?",
        is_good: |id, row| is_good_pair(marks::INBOUND_TABLE, id, row, inbound::FIXED_COLUMNS),
    },
    CheckedTable {
        name: marks::OUTBOUND_TABLE,
        sql: "SELECT outbound.*, marks.id FROM outbound LEFT JOIN outbound_marks AS marks USING (id) \
              WHERE outbound.id > ? ORDER BY outbound.id LIMIT ?",
        is_good: |id, row| is_good_pair(marks::OUTBOUND_TABLE, id, row, outbound::FIXED_COLUMNS),
    },
    CheckedTable {
        name: history::TABLE,
        sql: "SELECT history.id, sessions.session, length, entries, sum FROM history \
              LEFT JOIN sessions ON sessions.id = history.session WHERE history.id > ? ORDER BY history.id LIMIT ?",
        is_good: |id, row| verify(history::TABLE, id, row, 1, 3),
    },
    CheckedTable {
        name: sent_again::TABLE,
        sql: "SELECT id, again, sum FROM sent_again WHERE id > ? ORDER BY id LIMIT ?",
        is_good: |id, row| verify(sent_again::TABLE, id, row, 1, 1),
    },
    CheckedTable {
        name: restarts::TABLE,
        sql: "SELECT id, sum FROM restarts WHERE id > ? ORDER BY id LIMIT ?",
        is_good: |id, row| verify(restarts::TABLE, id, row, 1, 0),
    },
    CheckedTable {
        name: terms::TABLE,
        sql: "SELECT id, member, started_at_ms, sum FROM terms WHERE id > ? ORDER BY id LIMIT ?",
        is_good: |id, row| verify(terms::TABLE, id, row, 1, 2),
    },
];

/// A row of one of two tables that have the same rows: behind its checksum is its number in the other table.
fn is_good_pair(part: &'static str, id: i64, row: &Row<'_>, columns: usize) -> Result<(), CorruptRow> {
    verify(part, id, row, 1, columns)?;
    row.get::<_, Option<i64>>(columns + 2)?.map(drop).ok_or(CorruptRow)
}

/// The position of the check.
#[derive(Debug, Default)]
pub(super) struct RowsCheck {
    table: usize,
    /// Rows up to this number are checked.
    after: i64,
}

impl RowsCheck {
    /// Checks the next slice. Corrupt rows are recorded. Returns whether some are left.
    pub(super) fn check(&mut self, connection: &Connection, corrupt: &mut CorruptRows) -> rusqlite::Result<bool> {
        let Some(table) = TABLES.get(self.table) else { return Ok(false) };
        match self.check_slice(table, connection, corrupt) {
            Ok(true) => {}
            Ok(false) => *self = Self { table: self.table + 1, after: 0 },
            Err(error) if is_damage(&error) => {
                corrupt.add_place(format!("table {}: cannot be read after row {}", table.name, self.after));
                *self = Self { table: self.table + 1, after: 0 };
            }
            Err(error) => return Err(error),
        }
        Ok(self.table < TABLES.len())
    }

    /// Returns whether the table has more rows.
    fn check_slice(
        &mut self,
        table: &CheckedTable,
        connection: &Connection,
        corrupt: &mut CorruptRows,
    ) -> rusqlite::Result<bool> {
        let begun = self.after;
        let mut statement = connection.prepare_cached(table.sql)?;
        let mut rows = statement.query([self.after, PAGE])?;
        let (mut read, started) = (0, Instant::now());
        while let Some(row) = rows.next()? {
            if read > 0 && self.after > begun && started.elapsed() > SLICE {
                return Ok(true);
            }
            let id = row.get(0)?;
            read += 1;
            // The number of a corrupt row may be anything, and the next slice must not begin behind good rows.
            match (table.is_good)(id, row) {
                Ok(()) => self.after = self.after.max(id),
                Err(CorruptRow) => drop(corrupt.add(table.name, id)),
            }
        }
        // A slice of corrupt rows alone must not be read again and again.
        if self.after == begun {
            self.after += PAGE;
        }
        Ok(read == PAGE)
    }
}
