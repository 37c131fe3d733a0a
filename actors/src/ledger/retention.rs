//! The retention: ended rows are deleted after seven days, or above a hundred thousand.

use std::time::Duration;

use rusqlite::Connection;

use super::duplicates::KeyHashes;
use super::memory::{Memory, RowKind};
use super::states::{INBOUND_ENDED, OUTBOUND_ENDED, RowCounts};
use super::unread;

/// How long an ended row is kept.
const KEPT_FOR: Duration = Duration::from_hours(7 * 24);
/// Ended rows kept in each table.
const KEPT_ROWS: i64 = 100_000;
/// Rows per sweep: some 10 ms, and more than a group of commits can add.
const PAGE: i64 = 1_000;
/// Interval of sweeps.
const EVERY: Duration = Duration::from_mins(1);

/// A table's name, the columns of its keys, its first ended state, its part of the counts of rows, and more to delete.
struct RetentionTable {
    kind: RowKind,
    name: &'static str,
    keys: &'static str,
    ended_from: usize,
    counts: fn(&mut RowCounts) -> &mut [i64],
    /// Deletes what other tables have of a row.
    on_delete: fn(&Connection, &RetentionRow) -> rusqlite::Result<()>,
}

const TABLES: [RetentionTable; 2] = [
    RetentionTable {
        kind: RowKind::Inbound,
        name: "inbound",
        keys: "frame, message",
        ended_from: INBOUND_ENDED,
        counts: |row_counts| &mut row_counts.inbound,
        on_delete: |store, row| unread::remove(store, row.id),
    },
    RetentionTable {
        kind: RowKind::Outbound,
        name: "outbound",
        keys: "NULL, NULL",
        ended_from: OUTBOUND_ENDED,
        counts: |row_counts| &mut row_counts.outbound,
        on_delete: |_, _| Ok(()),
    },
];

/// The positions of the sweeps and the time of the next one. A sweep deletes a page at a time, so that it delays no work.
#[derive(Debug, Default)]
pub(super) struct Retention {
    /// The row after which each table's next sweep begins; 0 is its start.
    cursors: [i64; TABLES.len()],
    due_in: Duration,
}

impl Retention {
    /// Time until [`Retention::sweep`] is due, if nothing else happens.
    pub(super) fn due_in(&self) -> Duration {
        self.due_in
    }

    /// Counts down the time that has passed, and returns whether a sweep is due: by time, or because a page of rows is in excess.
    pub(super) fn is_due(&mut self, passed: Duration, row_counts: &RowCounts) -> bool {
        self.due_in = self.due_in.saturating_sub(passed);
        let mut row_counts = *row_counts;
        let has_excess = TABLES.iter().any(|table| excess((table.counts)(&mut row_counts), table.ended_from) >= PAGE);
        self.due_in.is_zero() || has_excess
    }

    /// Deletes the rows that are too old or in excess on the next page of each table. Returns the change of the counts of rows; it
    /// applies only once the transaction is on disk.
    pub(super) fn sweep(
        &mut self,
        store: &Connection,
        memory: &mut Memory,
        row_counts: &RowCounts,
        now_ms: i64,
    ) -> rusqlite::Result<RowCounts> {
        let oldest = now_ms - i64::try_from(KEPT_FOR.as_millis()).unwrap_or(i64::MAX);
        let (mut row_counts, mut delta) = (*row_counts, RowCounts::default());
        let mut more = false;
        for (table, cursor) in TABLES.iter().zip(&mut self.cursors) {
            let excess = excess((table.counts)(&mut row_counts), table.ended_from);
            let page = page(store, table, *cursor)?;
            let expired = expired(&page, table.ended_from, oldest, excess);
            let mut delete = store.prepare_cached(&format!("DELETE FROM {} WHERE id = ?", table.name))?;
            let mut delete_marks = store.prepare_cached(&format!("DELETE FROM {}_marks WHERE id = ?", table.name))?;
            for row in &expired {
                delete.execute([row.id])?;
                delete_marks.execute([row.id])?;
                (table.on_delete)(store, row)?;
                memory.remove_keys(row.hashes, row.id);
                memory.move_row(table.kind, row.id, usize::try_from(row.state).ok(), None);
                if let Some(count) =
                    usize::try_from(row.state).ok().and_then(|state| (table.counts)(&mut delta).get_mut(state))
                {
                    *count -= 1;
                }
            }
            // A page without a deletion is younger than the rest, or full of open rows.
            let whole = i64::try_from(page.len()).is_ok_and(|len| len >= PAGE);
            let open = page.iter().all(|row| !row.has_ended(table.ended_from));
            let continues = whole && (!expired.is_empty() || open);
            *cursor = page.last().filter(|_| continues).map_or(0, |row| row.id);
            more |= continues;
        }
        self.due_in = if more { Duration::from_secs(1) } else { EVERY };
        Ok(delta)
    }
}

/// The columns of a row that the retention needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RetentionRow {
    id: i64,
    state: i64,
    changed_at_ms: i64,
    hashes: KeyHashes,
}

impl RetentionRow {
    fn has_ended(&self, ended_from: usize) -> bool {
        usize::try_from(self.state).is_ok_and(|state| state >= ended_from)
    }
}

/// The next rows after `cursor`. The newest row of all is never included: the next number is derived from it.
fn page(store: &Connection, table: &RetentionTable, cursor: i64) -> rusqlite::Result<Vec<RetentionRow>> {
    let RetentionTable { name, keys, .. } = table;
    let sql = format!(
        "SELECT id, state, changed_at_ms, {keys} FROM {name}_marks \
         WHERE id > ? AND id < (SELECT max(id) FROM {name}_marks) ORDER BY id LIMIT ?"
    );
    let row = |row: &rusqlite::Row<'_>| {
        let hashes = KeyHashes { frame: row.get(3)?, message: row.get(4)? };
        Ok(RetentionRow { id: row.get(0)?, state: row.get(1)?, changed_at_ms: row.get(2)?, hashes })
    };
    store.prepare_cached(&sql)?.query_map([cursor, PAGE], row)?.collect()
}

/// The rows of a page to delete: those that ended before `oldest`, and the first `excess` ended ones.
fn expired(page: &[RetentionRow], ended_from: usize, oldest: i64, excess: i64) -> Vec<RetentionRow> {
    let ended = page.iter().filter(|row| row.has_ended(ended_from));
    ended.zip(0..).filter(|(row, place)| *place < excess || row.changed_at_ms < oldest).map(|(row, _)| *row).collect()
}

fn excess(counts: &[i64], ended_from: usize) -> i64 {
    counts.iter().skip(ended_from).sum::<i64>() - KEPT_ROWS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, state: i64, changed_at_ms: i64) -> RetentionRow {
        RetentionRow { id, state, changed_at_ms, hashes: KeyHashes::default() }
    }

    #[test]
    fn only_ended_rows_go_by_age_and_the_oldest_of_them_by_number() {
        let page = [row(1, 0, 0), row(2, 4, 50), row(3, 4, 150), row(4, 5, 50), row(5, 3, 0)];
        let ids = |oldest, excess| expired(&page, 4, oldest, excess).iter().map(|row| row.id).collect::<Vec<_>>();
        assert_eq!(ids(100, 0), [2, 4]);
        assert_eq!(ids(0, 2), [2, 3]);
        assert_eq!(ids(0, -7), Vec::<i64>::new());
    }

    #[test]
    fn an_excess_page_is_swept_at_once_and_not_only_at_the_interval() {
        let mut retention = Retention { due_in: EVERY, ..Retention::default() };
        let mut row_counts = RowCounts::default();
        row_counts.inbound[INBOUND_ENDED] = KEPT_ROWS + PAGE - 1;
        assert!(!retention.is_due(Duration::from_secs(1), &row_counts));
        row_counts.inbound[INBOUND_ENDED] += 1;
        assert!(retention.is_due(Duration::ZERO, &row_counts));
        assert!(retention.is_due(EVERY, &RowCounts::default()));
    }
}
