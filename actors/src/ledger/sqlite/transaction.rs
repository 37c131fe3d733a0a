//! One transaction on the file, and what its operations have in common.

use std::collections::BTreeSet;
use std::ops::Bound;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior};

use super::memory::{Memory, RowKind};
use super::row::{self, CorruptRow};
use crate::ledger::failure::Failure;
use crate::ledger::store::Wrote;
use caduceus_contract::messages::ledger::LedgerError;

/// The ledger's file inside one transaction. Dropped without a commit, it is undone, in the file and in memory.
#[derive(Debug)]
pub struct SqliteTransaction<'a> {
    pub(super) connection: &'a Connection,
    pub(super) ids: &'a mut Ids,
    pub(super) corrupt: &'a mut CorruptRows,
    pub(super) memory: &'a mut Memory,
    /// Milliseconds since 1970 at which the transaction began.
    pub(super) now_ms: i64,
    /// The term of this process.
    pub(super) term: i64,
    /// Rows that the connection had changed before.
    changes: u64,
    /// Why what is written would be lost, if it would.
    pub(super) missing: Option<&'a str>,
    /// Rolls back when dropped, unless it was committed.
    transaction: Transaction<'a>,
}

/// A table whose rows are listed by state.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListedTable {
    pub(super) kind: RowKind,
    /// Its name in SQL and in errors.
    pub(super) name: &'static str,
    /// Reads whole rows from the table of `marks`: the number, the state, and the rest.
    pub(super) read: &'static str,
}

/// The last row numbers. A number is used once, even if its transaction is rolled back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ids {
    pub(super) inbound: i64,
    pub(super) outbound: i64,
    pub(super) history: i64,
}

/// Rows found corrupt since the ledger was opened, by table, and what else of the files is damaged.
#[derive(Debug, Default)]
pub(super) struct CorruptRows {
    rows: BTreeSet<(&'static str, i64)>,
    /// Each in a sentence.
    places: Vec<String>,
}

impl<'a> SqliteTransaction<'a> {
    /// Begins a transaction that writes.
    pub(super) fn begin(
        connection: &'a Connection,
        ids: &'a mut Ids,
        corrupt: &'a mut CorruptRows,
        memory: &'a mut Memory,
        (term, now_ms): (i64, i64),
    ) -> rusqlite::Result<Self> {
        let changes = connection.total_changes();
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        Ok(Self { connection, ids, corrupt, memory, now_ms, term, changes, missing: None, transaction })
    }

    /// Writes it to disk.
    pub(super) fn write(self) -> rusqlite::Result<Wrote> {
        // Not by the guard, which would be moved; it finds no transaction left.
        self.transaction.execute_batch("COMMIT")?;
        self.memory.committed();
        Ok(if self.has_written() { Wrote::Something } else { Wrote::Nothing })
    }

    /// Whether anything was changed in it.
    pub(super) fn has_written(&self) -> bool {
        self.connection.total_changes() != self.changes
    }

    /// Runs `operation`; if it fails, none of its changes stay, in the file or in memory.
    pub(super) fn atomically<T>(
        &mut self,
        operation: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let changes = self.memory.changes();
        self.connection.prepare_cached("SAVEPOINT work")?.execute([])?;
        let outcome = operation(self);
        if outcome.is_err() {
            // Some errors of the disk end the whole transaction, and this operation's error says which.
            let undone = !self.connection.is_autocommit()
                && self.connection.prepare_cached("ROLLBACK TO work").and_then(|mut undo| undo.execute([])).is_ok();
            self.memory.undo_to(changes);
            if !undone {
                return outcome;
            }
        }
        self.connection.prepare_cached("RELEASE work")?.execute([])?;
        outcome
    }

    /// The rows of `table` in any of `states` after row `after`, oldest first, at most `limit` good ones of those that `is_wanted`.
    /// Corrupt rows do not count, or a short page would be treated as the last one.
    pub(super) fn list<T>(
        &mut self,
        table: ListedTable,
        states: &[usize],
        after: Option<i64>,
        limit: usize,
        is_wanted: impl Fn(&mut Self, i64) -> rusqlite::Result<bool>,
        read: impl Fn(&Row<'_>) -> Result<T, CorruptRow>,
    ) -> rusqlite::Result<Vec<T>> {
        let (mut found, mut after) = (Vec::new(), after);
        while found.len() < limit {
            let rows = self.next_rows(table, states, after, limit - found.len())?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(*last);
            for (row, state) in rows {
                if is_wanted(self, row)? {
                    found.extend(self.read_in_state(table, row, state, &read)?.and_then(Result::ok));
                }
            }
        }
        Ok(found)
    }

    /// The first `limit` rows of `table` in any of `states` after row `after`, oldest first, each with its state.
    pub(super) fn next_rows(
        &self,
        table: ListedTable,
        states: &[usize],
        after: Option<i64>,
        limit: usize,
    ) -> rusqlite::Result<Vec<(i64, usize)>> {
        let mut found = Vec::new();
        for state in states {
            let rows = self.rows_in_state(table, *state, after.unwrap_or(i64::MIN), limit)?;
            found.extend(rows.into_iter().map(|row| (row, *state)));
        }
        found.sort_unstable();
        found.dedup_by_key(|(row, _)| *row);
        found.truncate(limit);
        Ok(found)
    }

    /// The first `limit` rows in a state after row `after`: from memory if the state is open, otherwise from the marks.
    fn rows_in_state(&self, table: ListedTable, state: usize, after: i64, limit: usize) -> rusqlite::Result<Vec<i64>> {
        if let Some(rows) = self.memory.open_rows(table.kind, state) {
            return Ok(rows.range((Bound::Excluded(after), Bound::Unbounded)).take(limit).copied().collect());
        }
        let sql = format!("SELECT id FROM {}_marks WHERE id > ? AND state = ? ORDER BY id LIMIT ?", table.name);
        let values = [Some(after), i64::try_from(state).ok(), Some(i64::try_from(limit).unwrap_or(i64::MAX))];
        self.connection.prepare_cached(&sql)?.query_map(values, |row| row.get(0))?.collect()
    }

    /// One row, if it is there and in this state. A corrupt one is recorded.
    pub(super) fn read_in_state<T>(
        &mut self,
        table: ListedTable,
        row: i64,
        state: usize,
        read: impl Fn(&Row<'_>) -> Result<T, CorruptRow>,
    ) -> rusqlite::Result<Option<Result<T, LedgerError>>> {
        let found = self
            .connection
            .prepare_cached(&format!("{} WHERE marks.id = ?", table.read))?
            .query_row([row], |found| Ok((row::code_at(found, 1).is_ok_and(|code| code == state), read(found))))
            .optional()?;
        Ok(match found {
            Some((_, Err(CorruptRow))) => Some(Err(self.corrupt(table.name, row))),
            Some((true, Ok(found))) => Some(Ok(found)),
            // Another program changed or deleted it.
            Some((false, Ok(_))) | None => None,
        })
    }

    /// Records and logs a corrupt row, once.
    pub(super) fn corrupt(&mut self, table: &'static str, row: i64) -> LedgerError {
        self.corrupt.add(table, row)
    }
}

impl CorruptRows {
    /// Records and logs a corrupt row, once.
    pub(super) fn add(&mut self, table: &'static str, row: i64) -> LedgerError {
        if self.rows.insert((table, row)) {
            tracing::error!(table, row, "corrupt row in the ledger; it is kept and not used");
        }
        LedgerError::Corrupt { table, row }
    }

    pub(super) fn count(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Records and logs damage to something other than a row, once.
    pub(super) fn add_place(&mut self, damage: String) {
        if !self.places.contains(&damage) {
            tracing::error!(%damage, "ledger damaged");
            self.places.push(damage);
        }
    }

    /// What else is damaged.
    pub(super) fn places(&self) -> &[String] {
        &self.places
    }

    #[cfg(test)]
    pub(super) fn has_some(&self, table: &str) -> bool {
        self.rows.iter().any(|(of, _)| *of == table)
    }

    /// Whether a row was found corrupt.
    pub(super) fn has(&self, table: &'static str, row: i64) -> bool {
        self.rows.contains(&(table, row))
    }
}

impl Drop for SqliteTransaction<'_> {
    fn drop(&mut self) {
        // Nothing to undo after a commit.
        self.memory.undo_to(0);
    }
}
