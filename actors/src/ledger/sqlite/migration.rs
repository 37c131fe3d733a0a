//! The steps of a migration that SQL alone cannot do.
//!
//! A row whose checksum is wrong keeps its wrong checksum, so it stays corrupt.

use rusqlite::Connection;

use super::history::{self, history_values, packed};
use super::row::{CorruptRow, params, verify};
use caduceus_contract::messages::ledger::HistoryEntry;

/// The session of a row of the history becomes a number, and its entry a list of one.
pub(super) fn number_sessions(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "DROP INDEX history_session;
         ALTER TABLE history RENAME TO entry;
         CREATE TABLE sessions (id INTEGER PRIMARY KEY, session TEXT NOT NULL) STRICT;
         INSERT INTO sessions (session) SELECT DISTINCT session FROM entry;
         CREATE UNIQUE INDEX sessions_session ON sessions (session);
         CREATE TABLE history (
             id INTEGER PRIMARY KEY,
             session INTEGER NOT NULL,
             length INTEGER NOT NULL,
             entries TEXT NOT NULL,
             sum INTEGER NOT NULL
         ) STRICT;",
    )?;
    {
        let mut insert = connection.prepare("INSERT INTO history VALUES (?,?,?,?,?)")?;
        let mut keep_corrupt =
            connection.prepare("INSERT INTO history SELECT id, ?2, 1, content, sum FROM entry WHERE id = ?1")?;
        let mut old = connection.prepare(
            "SELECT entry.id, entry.session, role, content, sum, sessions.id FROM entry \
             JOIN sessions ON sessions.session = entry.session ORDER BY entry.id",
        )?;
        let mut rows = old.query(())?;
        while let Some(row) = rows.next()? {
            let (id, number) = (row.get(0)?, row.get(5)?);
            let entry = || {
                verify(history::TABLE, id, row, 1, 3)?;
                let entry = HistoryEntry { role: row.get(2)?, content: row.get(3)? };
                Ok::<_, CorruptRow>((row.get::<_, String>(1)?, entry))
            };
            match entry() {
                Ok((session, entry)) => {
                    let (length, entries) = packed(&[entry]);
                    insert.execute(params(history_values(id, &session, number, length, &entries)))?;
                }
                Err(CorruptRow) => {
                    keep_corrupt.execute((id, number))?;
                }
            }
        }
    }
    connection.execute_batch("DROP TABLE entry; CREATE INDEX history_session ON history (session);")
}
