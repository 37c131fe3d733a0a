//! One transaction on the ledger, and the interface of the work in it.

use std::collections::BTreeSet;
use std::ops::Bound;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row};

use super::memory::{Memory, RowKind};
use super::row::{self, CorruptRow};
use super::states::RowCounts;
use caduceus_contract::messages::batch::Batch;
use caduceus_contract::messages::ledger::LedgerError;

/// Work that the writer's thread does inside a transaction shared with other work.
pub trait Work: Send + 'static {
    /// Its answer, once the transaction is on disk.
    type Answer: Send + 'static;

    /// Does the work. It makes one change, or several in [`Store::atomically`], so that failed work leaves
    /// nothing behind in the common commit.
    ///
    /// # Errors
    /// [`Failure::Answered`] concerns this work alone; [`Failure::Sql`] may end the transaction for all.
    fn run(&self, store: &mut Store<'_>) -> Result<Self::Answer, Failure>;

    /// Number of operations in it.
    fn operations(&self) -> usize {
        1
    }

    /// Whether it says what has happened. Such work is never refused because the disk accepts no writes: the thread keeps it and does it
    /// before any later work.
    fn is_owed(&self) -> bool {
        false
    }
}

/// Does `work` for one caller.
///
/// # Errors
/// The transaction has failed for all.
pub(super) fn run_for_caller<W: Work>(
    work: &W,
    store: &mut Store<'_>,
) -> rusqlite::Result<Result<W::Answer, LedgerError>> {
    match work.run(store) {
        Ok(answer) => Ok(Ok(answer)),
        Err(Failure::Answered(error)) => Ok(Err(error)),
        Err(Failure::Sql(error)) if ends_transaction(&error, store.connection) => Err(error),
        Err(Failure::Sql(error)) => Ok(Err(LedgerError::Unwritable(error.to_string()))),
    }
}

impl<W: Work> Work for Batch<W> {
    type Answer = Vec<Result<W::Answer, LedgerError>>;

    fn run(&self, store: &mut Store<'_>) -> Result<Self::Answer, Failure> {
        self.0.iter().map(|work| Ok(run_for_caller(work, store)?)).collect()
    }

    fn operations(&self) -> usize {
        self.0.len()
    }

    fn is_owed(&self) -> bool {
        self.0.iter().all(W::is_owed)
    }
}

/// The ledger inside one transaction. Its counts apply once the transaction is on disk.
#[derive(Debug)]
pub struct Store<'a> {
    pub(super) connection: &'a Connection,
    pub(super) ids: &'a mut Ids,
    pub(super) corrupt: &'a mut CorruptRows,
    pub(super) memory: &'a mut Memory,
    pub(super) delta: RowCounts,
    /// Milliseconds since 1970 at which the transaction began.
    pub(super) now_ms: i64,
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

/// Why a piece of work failed.
#[derive(Debug)]
pub enum Failure {
    /// The answer of this work.
    Answered(LedgerError),
    /// SQLite's error.
    Sql(rusqlite::Error),
}

/// The last row numbers. A number is used once, even if its transaction is rolled back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ids {
    pub(super) inbound: i64,
    pub(super) outbound: i64,
    pub(super) history: i64,
}

/// Rows found corrupt since the ledger was opened, by table.
#[derive(Debug, Default)]
pub(super) struct CorruptRows(BTreeSet<(&'static str, i64)>);

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::Answered(error)
    }
}

impl<'a> Store<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        ids: &'a mut Ids,
        corrupt: &'a mut CorruptRows,
        memory: &'a mut Memory,
        now_ms: i64,
    ) -> Self {
        Self { connection, ids, corrupt, memory, delta: RowCounts::default(), now_ms }
    }

    /// Runs `work`; if it fails, none of its changes stay, in the file, in the counts or in memory.
    pub(super) fn atomically<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        let (delta, changes) = (self.delta, self.memory.changes());
        self.connection.prepare_cached("SAVEPOINT work")?.execute([])?;
        let outcome = work(self);
        if outcome.is_err() {
            self.connection.prepare_cached("ROLLBACK TO work")?.execute([])?;
            self.delta = delta;
            self.memory.undo_to(changes);
        }
        self.connection.prepare_cached("RELEASE work")?.execute([])?;
        outcome
    }

    /// Counts a row that is recorded (no `from`) or marked, in its new state.
    pub(super) fn moved(&mut self, kind: RowKind, row: i64, from: Option<usize>, to: usize) {
        let counts: &mut [i64] = match kind {
            RowKind::Inbound => &mut self.delta.inbound,
            RowKind::Outbound => &mut self.delta.outbound,
        };
        for (state, change) in from.map(|from| (from, -1)).into_iter().chain([(to, 1)]) {
            counts[state] += change;
        }
        self.memory.move_row(kind, row, from, Some(to));
    }

    /// The rows of `table` in any of `states` after row `after`, oldest first, each once, at most `limit` good ones.
    pub(super) fn list<T>(
        &mut self,
        table: ListedTable,
        states: impl Iterator<Item = usize>,
        after: Option<i64>,
        limit: usize,
        read: impl Fn(&Row<'_>) -> Result<T, CorruptRow>,
        id: impl Fn(&T) -> i64,
    ) -> rusqlite::Result<Vec<T>> {
        let mut found = Vec::new();
        for state in states {
            self.list_state(table, state, after.unwrap_or(i64::MIN), limit, &read, &mut found)?;
        }
        found.sort_unstable_by_key(&id);
        found.dedup_by_key(|row| id(row));
        found.truncate(limit);
        Ok(found)
    }

    /// Adds to `found` the rows of `table` in one state after row `after`, oldest first, at most `limit` good ones. Corrupt
    /// rows do not count, or a short page would be treated as the last one.
    fn list_state<T>(
        &mut self,
        table: ListedTable,
        state: usize,
        mut after: i64,
        limit: usize,
        read: impl Fn(&Row<'_>) -> Result<T, CorruptRow>,
        found: &mut Vec<T>,
    ) -> rusqlite::Result<()> {
        let full = found.len().saturating_add(limit);
        while found.len() < full {
            let rows = self.rows_in_state(table, state, after, full - found.len())?;
            let Some(last) = rows.last() else { break };
            after = *last;
            for row in rows {
                found.extend(self.read_in_state(table, row, state, &read)?.and_then(Result::ok));
            }
        }
        Ok(())
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
        if self.0.insert((table, row)) {
            tracing::error!(table, row, "corrupt row in the ledger; it is kept and not used");
        }
        LedgerError::Corrupt { table, row }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len() as u64
    }
}

/// Whether `error` ends the whole transaction and not only the work that met it.
pub(super) fn ends_transaction(error: &rusqlite::Error, connection: &Connection) -> bool {
    // SQLite rolls back by itself after some errors.
    connection.is_autocommit()
        || error.sqlite_error_code().is_some_and(|code| {
            !matches!(
                code,
                ErrorCode::ConstraintViolation
                    | ErrorCode::TooBig
                    | ErrorCode::TypeMismatch
                    | ErrorCode::ParameterOutOfRange
            )
        })
}
