//! The deletion of expired rows, a slice at a time.

use rusqlite::Connection;

use super::duplicates::KeyHashes;
use super::memory::RowKind;
use super::row::integer;
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
        on_delete: |_, _| Ok(()),
    },
];

/// The positions of the sweeps.
#[derive(Debug, Clone, Default)]
pub(super) struct Sweep {
    /// The row after which each table's next sweep begins; 0 is its start.
    cursors: [i64; TABLES.len()],
}

impl Sweep {
    /// Deletes the expired rows on the next slice of each table.
    pub(super) fn delete(&mut self, store: &mut SqliteTransaction<'_>, expiry: &Expiry) -> rusqlite::Result<Deleted> {
        let connection = store.connection;
        let mut delta = RowCounts::default();
        let (mut more, mut early) = (false, 0);
        for (table, cursor) in TABLES.iter().zip(&mut self.cursors) {
            let page = page(connection, table, *cursor, expiry.slice)?;
            let expired = expired(&page, table.ended_from, expiry.changed_before_ms, (table.excess)(expiry));
            let mut delete = connection.prepare_cached(&format!("DELETE FROM {} WHERE id = ?", table.name))?;
            let mut delete_marks =
                connection.prepare_cached(&format!("DELETE FROM {}_marks WHERE id = ?", table.name))?;
            for row in &expired {
                early += i64::from(row.changed_at_ms >= expiry.changed_before_ms);
                delete.execute([row.id])?;
                delete_marks.execute([row.id])?;
                (table.on_delete)(connection, row)?;
                store.memory.remove_keys(row.hashes, row.id);
                store.memory.move_row(table.kind, row.id, usize::try_from(row.state).ok(), None);
                if let Some(count) =
                    usize::try_from(row.state).ok().and_then(|state| (table.counts)(&mut delta).get_mut(state))
                {
                    *count -= 1;
                }
            }
            // Behind a page of ended rows without a deletion all are younger. An open row says nothing about those behind it.
            let whole = i64::try_from(page.len()).is_ok_and(|len| len >= expiry.slice);
            let open = page.iter().any(|row| !row.has_ended(table.ended_from));
            let continues = whole && (!expired.is_empty() || open);
            *cursor = page.last().filter(|_| continues).map_or(0, |row| row.id);
            more |= continues;
        }
        Ok(Deleted { delta, early, more })
    }
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

/// The rows of a page to delete: those that ended before `oldest`, and the first `excess` ended ones.
fn expired(page: &[SweptRow], ended_from: usize, oldest: i64, excess: i64) -> Vec<SweptRow> {
    let ended = page.iter().filter(|row| row.has_ended(ended_from));
    ended.zip(0..).filter(|(row, place)| *place < excess || row.changed_at_ms < oldest).map(|(row, _)| *row).collect()
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
        let ids = |oldest, excess| expired(&page, 4, oldest, excess).iter().map(|row| row.id).collect::<Vec<_>>();
        assert_eq!(ids(100, 0), [2, 4]);
        assert_eq!(ids(0, 2), [2, 3]);
        assert_eq!(ids(0, -7), Vec::<i64>::new());
    }
}
