//! The marks of a table, gone through in order of their rows: a limited number at a time, so that no page delays an event.

use super::row::integer;
use super::transaction::SqliteTransaction;
use crate::ledger::failure::Failure;

/// Some marks of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct MarksScan {
    /// The table.
    pub(super) marks: &'static str,
    /// Only those behind this row.
    pub(super) after: i64,
    /// Limit of marks.
    pub(super) limit: usize,
}

/// How a scan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scanned {
    /// The last row that was visited, if others may follow.
    pub(super) next_after: Option<i64>,
    /// Rows that were visited.
    pub(super) visited: usize,
}

/// What is made of the rows of a scan.
pub(super) trait ScannedPage {
    /// Whether no more rows are to be visited after those that this scan has `visited`.
    fn is_full(&self, visited: usize) -> bool;

    /// Visits a row, whose mark has the state with this number; `None` if that is none.
    fn visit(&mut self, store: &mut SqliteTransaction<'_>, row: i64, state: Option<usize>) -> Result<(), Failure>;
}

/// Visits rows until `page` is full or the limit is reached.
pub(super) fn scan(
    store: &mut SqliteTransaction<'_>,
    MarksScan { marks, after, limit }: MarksScan,
    page: &mut impl ScannedPage,
) -> Result<Scanned, Failure> {
    let sql = format!("SELECT id, state FROM {marks} WHERE id > ? ORDER BY id LIMIT ?");
    let values = [after, i64::try_from(limit).unwrap_or(i64::MAX)];
    let found: Vec<(i64, Option<usize>)> = store
        .connection
        .prepare_cached(&sql)?
        .query_map(values, |row| Ok((row.get(0)?, usize::try_from(integer(row, 1)).ok())))?
        .collect::<Result<_, _>>()?;
    let mut last = after;
    for (visited, (row, state)) in found.iter().copied().enumerate() {
        if page.is_full(visited) {
            return Ok(Scanned { next_after: Some(last), visited });
        }
        last = row;
        page.visit(store, row, state)?;
    }
    let visited = found.len();
    Ok(Scanned { next_after: (visited >= limit).then_some(last), visited })
}
