//! The conversation of each session, its last entries.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::row::{CorruptRow, checksum, params, text, verify};
use super::store::{Failure, Store, Work};
use caduceus_contract::messages::ledger::{AppendHistory, HistoryEntry, LoadHistory};

const TABLE: &str = "history";
/// Session, role, content.
const COLUMNS: usize = 3;

impl Work for AppendHistory {
    type Answer = ();

    fn run(&self, store: &mut Store<'_>) -> Result<(), Failure> {
        let session = super::session_text(&self.session);
        let mut id = store.ids.history;
        // Entries above the limit need not be written first.
        let entries = &self.entries[self.entries.len().saturating_sub(self.keep)..];
        store.atomically(|connection| {
            let mut insert = connection.prepare_cached("INSERT INTO history VALUES (?,?,?,?,?)")?;
            for entry in entries {
                id += 1;
                let values: [ValueRef<'_>; COLUMNS] = [text(&session), text(&entry.role), text(&entry.content)];
                let sum = ValueRef::Integer(checksum(TABLE, id, &values));
                let values = std::iter::once(ValueRef::Integer(id)).chain(values).chain([sum]);
                insert.execute(params(values))?;
            }
            let keep = ValueRef::Integer(i64::try_from(self.keep).unwrap_or(i64::MAX));
            connection
                .prepare_cached(
                    "DELETE FROM history WHERE session = ?1 AND id <= \
                     (SELECT id FROM history WHERE session = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                )?
                .execute(params([text(&session), keep]))
        })?;
        store.ids.history = id;
        Ok(())
    }
}

impl Work for LoadHistory {
    type Answer = Vec<HistoryEntry>;

    /// A corrupt entry is left out and logged: the conversation continues without it.
    fn run(&self, store: &mut Store<'_>) -> Result<Vec<HistoryEntry>, Failure> {
        let session = super::session_text(&self.session);
        let connection = store.connection;
        let mut statement = connection
            .prepare_cached("SELECT id, session, role, content, sum FROM history WHERE session = ? ORDER BY id DESC")?;
        let mut rows = statement.query(params([text(&session)]))?;
        let mut entries = Vec::new();
        while entries.len() < self.limit
            && let Some(row) = rows.next()?
        {
            match entry(row) {
                Ok(entry) => entries.push(entry),
                Err(CorruptRow) => drop(store.corrupt(TABLE, row.get(0)?)),
            }
        }
        entries.reverse();
        Ok(entries)
    }
}

fn entry(row: &Row<'_>) -> Result<HistoryEntry, CorruptRow> {
    verify(TABLE, row.get(0)?, row, 1, COLUMNS)?;
    Ok(HistoryEntry { role: row.get(2)?, content: row.get(3)? })
}
