//! The deletion of expired rows, a slice at a time.

use rusqlite::Connection;

use super::duplicates::KeyHashes;
use super::memory::RowKind;
use super::row::integer;
use super::sent_again;
use super::transaction::SqliteTransaction;
use super::unread;
use crate::ledger::states::{INBOUND_ENDED, OUTBOUND_ENDED, RowCounts};
use crate::ledger::store::{Deleted, Expiry};

/// A table's name, the columns of its keys, its first ended state, its part of the counts and of the excess, and more to delete.
struct SweptTable {
    kind: RowKind,
    name: &'static str,
    keys: &'static str,
    ended_from: usize,
    counts: fn(&mut RowCounts) -> &mut [i64],
    excess: fn(&Expiry) -> i64,
    /// Deletes what other tables have of a row.
    on_delete: fn(&Connection, &SweptRow) -> rusqlite::Result<()>,
}

const TABLES: [SweptTable; 2] = [
    SweptTable {
        kind: RowKind::Inbound,
        name: "inbound",
        keys: "frame, message",
        ended_from: INBOUND_ENDED,
        counts: |row_counts| &mut row_counts.inbound,
        excess: |expiry| expiry.excess_inbound,
        on_delete: |connection, row| unread::remove(connection, row.id),
    },
    SweptTable {
        kind: RowKind::Outbound,
        name: "outbound",
        keys: "NULL, NULL",
        ended_from: OUTBOUND_ENDED,
        counts: |row_counts| &mut row_counts.outbound,
        excess: |expiry| expiry.excess_outbound,
        on_delete: |connection, row| sent_again::delete(connection, row.id),
    },
];

/// The positions of the sweeps in each table: the row after which the next one begins; 0 is the start.
#[derive(Debug, Clone, Default)]
pub(super) struct Sweep {
    /// Of the sweep for rows that are too old.
    by_age: [i64; TABLES.len()],
    /// Of the sweep for rows in excess: all rows before are open, or were when it passed them.
    by_number: [i64; TABLES.len()],
}

impl Sweep {
    /// Deletes the rows in excess, the oldest first, and the expired rows on the next slice of each table.
    pub(super) fn delete(&mut self, store: &mut SqliteTransaction<'_>, expiry: &Expiry) -> rusqlite::Result<Deleted> {
        let mut deleted = Deleted { delta: RowCounts::default(), early: 0, more: false };
        let cursors = self.by_age.iter_mut().zip(&mut self.by_number);
        for (table, (by_age, by_number)) in TABLES.iter().zip(cursors) {
            let excess = (table.excess)(expiry);
            if excess > 0 {
                let page = page(store.connection, table, *by_number, expiry.slice)?;
                let rows = in_excess(&page, table.ended_from, excess);
                deleted.early +=
                    rows.iter().map(|row| i64::from(row.changed_at_ms >= expiry.changed_before_ms)).sum::<i64>();
                let all = rows.len() == page.iter().filter(|row| row.has_ended(table.ended_from)).count();
                let passed = if all { page.last() } else { rows.last() };
                let is_last = is_last(&page, expiry.slice);
                *by_number = passed.filter(|_| !(all && is_last)).map_or(0, |row| row.id);
                deleted.more |= all && !is_last;
                delete_rows(store, table, &rows, &mut deleted.delta)?;
            } else {
                *by_number = 0;
            }
            let page = page(store.connection, table, *by_age, expiry.slice)?;
            let rows = expired(&page, table.ended_from, expiry.changed_before_ms);
            // Behind a page of ended rows without a deletion all are younger. An open row says nothing about those behind it.
            let open = page.iter().any(|row| !row.has_ended(table.ended_from));
            let continues = !is_last(&page, expiry.slice) && (!rows.is_empty() || open);
            *by_age = page.last().filter(|_| continues).map_or(0, |row| row.id);
            deleted.more |= continues;
            delete_rows(store, table, &rows, &mut deleted.delta)?;
        }
        Ok(deleted)
    }
}

/// Whether no page follows.
fn is_last(page: &[SweptRow], slice: i64) -> bool {
    i64::try_from(page.len()).is_ok_and(|len| len < slice)
}

fn delete_rows(
    store: &mut SqliteTransaction<'_>,
    table: &SweptTable,
    rows: &[SweptRow],
    delta: &mut RowCounts,
) -> rusqlite::Result<()> {
    let connection = store.connection;
    let mut delete = connection.prepare_cached(&format!("DELETE FROM {} WHERE id = ?", table.name))?;
    let mut delete_marks = connection.prepare_cached(&format!("DELETE FROM {}_marks WHERE id = ?", table.name))?;
    for row in rows {
        delete.execute([row.id])?;
        delete_marks.execute([row.id])?;
        (table.on_delete)(connection, row)?;
        store.memory.remove_keys(row.hashes, row.id);
        let state = usize::try_from(row.state).ok();
        store.memory.move_row(table.kind, row.id, state, None);
        if let Some(count) = state.and_then(|state| (table.counts)(delta).get_mut(state)) {
            *count -= 1;
        }
    }
    Ok(())
}

/// The columns of a row that the retention needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SweptRow {
    id: i64,
    state: i64,
    changed_at_ms: i64,
    hashes: KeyHashes,
}

impl SweptRow {
    fn has_ended(&self, ended_from: usize) -> bool {
        usize::try_from(self.state).is_ok_and(|state| state >= ended_from)
    }
}

/// The next rows after `cursor`. The newest row of all is never included: the next number is derived from it.
fn page(connection: &Connection, table: &SweptTable, cursor: i64, limit: i64) -> rusqlite::Result<Vec<SweptRow>> {
    let SweptTable { name, keys, .. } = table;
    let sql = format!(
        "SELECT id, state, changed_at_ms, {keys} FROM {name}_marks \
         WHERE id > ? AND id < (SELECT max(id) FROM {name}_marks) ORDER BY id LIMIT ?"
    );
    let row = |row: &rusqlite::Row<'_>| {
        // Of a corrupt row each column may be of any type.
        let hashes = KeyHashes { frame: row.get(3).unwrap_or_default(), message: row.get(4).unwrap_or_default() };
        Ok(SweptRow { id: row.get(0)?, state: integer(row, 1), changed_at_ms: integer(row, 2), hashes })
    };
    connection.prepare_cached(&sql)?.query_map([cursor, limit], row)?.collect()
}

/// The ended rows of a page whose mark is older than `oldest`.
fn expired(page: &[SweptRow], ended_from: usize, oldest: i64) -> Vec<SweptRow> {
    page.iter().filter(|row| row.has_ended(ended_from) && row.changed_at_ms < oldest).copied().collect()
}

/// The first `excess` ended rows of a page.
fn in_excess(page: &[SweptRow], ended_from: usize, excess: i64) -> Vec<SweptRow> {
    let excess = usize::try_from(excess).unwrap_or(0);
    page.iter().filter(|row| row.has_ended(ended_from)).take(excess).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, state: i64, changed_at_ms: i64) -> SweptRow {
        SweptRow { id, state, changed_at_ms, hashes: KeyHashes::default() }
    }

    #[test]
    fn only_ended_rows_go_by_age_and_the_oldest_of_them_by_number() {
        let page = [row(1, 0, 0), row(2, 4, 50), row(3, 4, 150), row(4, 5, 50), row(5, 3, 0)];
        let ids = |rows: Vec<SweptRow>| rows.iter().map(|row| row.id).collect::<Vec<_>>();
        assert_eq!(ids(expired(&page, 4, 100)), [2, 4]);
        assert_eq!(ids(in_excess(&page, 4, 2)), [2, 3]);
        assert_eq!(ids(in_excess(&page, 4, -7)), Vec::<i64>::new());
    }
}
