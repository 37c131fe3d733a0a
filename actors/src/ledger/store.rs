//! One transaction on the ledger, and the interface of the work in it.

use std::collections::BTreeSet;

use rusqlite::{Connection, ErrorCode, Row};

use super::row::CorruptRow;
use super::states::RowCounts;
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
}

/// The ledger inside one transaction. Its counts apply once the transaction is on disk.
#[derive(Debug)]
pub struct Store<'a> {
    pub(super) connection: &'a Connection,
    pub(super) ids: &'a mut Ids,
    pub(super) corrupt: &'a mut CorruptRows,
    pub(super) delta: RowCounts,
    /// Milliseconds since 1970 at which the transaction began.
    pub(super) now_ms: i64,
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
    pub(super) fn new(connection: &'a Connection, ids: &'a mut Ids, corrupt: &'a mut CorruptRows, now_ms: i64) -> Self {
        Self { connection, ids, corrupt, delta: RowCounts::default(), now_ms }
    }

    /// Runs `work`; if it fails, none of its changes stay.
    pub(super) fn atomically<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        self.connection.prepare_cached("SAVEPOINT work")?.execute([])?;
        let outcome = work(self.connection);
        if outcome.is_err() {
            self.connection.prepare_cached("ROLLBACK TO work")?.execute([])?;
        }
        self.connection.prepare_cached("RELEASE work")?.execute([])?;
        outcome
    }

    /// The rows of `table` in any of `states` after row `after`, oldest first, each once, at most `limit` good ones.
    pub(super) fn list<T>(
        &mut self,
        table: &'static str,
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

    /// Adds to `found` the rows of `table` in one state after row `after`, oldest first, at most `limit` good ones.
    fn list_state<T>(
        &mut self,
        table: &'static str,
        state: usize,
        after: i64,
        limit: usize,
        read: impl Fn(&Row<'_>) -> Result<T, CorruptRow>,
        found: &mut Vec<T>,
    ) -> rusqlite::Result<()> {
        let connection = self.connection;
        // No LIMIT: corrupt rows do not count, or a short page would be treated as the last one.
        let sql = format!("SELECT * FROM {table} WHERE state = ? AND id > ? ORDER BY id");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query((i64::try_from(state).unwrap_or(i64::MAX), after))?;
        let full = found.len() + limit;
        while found.len() < full
            && let Some(row) = rows.next()?
        {
            match read(row) {
                Ok(row) => found.push(row),
                Err(CorruptRow) => drop(self.corrupt(table, row.get(0)?)),
            }
        }
        Ok(())
    }

    /// Records and logs a corrupt row, once.
    pub(super) fn corrupt(&mut self, table: &'static str, row: i64) -> LedgerError {
        if self.corrupt.0.insert((table, row)) {
            tracing::error!(table, row, "corrupt row in the ledger; it is kept and not used");
        }
        LedgerError::Corrupt { table, row }
    }
}

impl CorruptRows {
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
