//! The step of a migration to version 4, which SQL alone cannot do, and the checksum of versions up to 6.
//!
//! A row whose checksum is wrong keeps its wrong checksum, so it stays corrupt.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use sha2::{Digest, Sha256};

use super::history::{self, packed};
use super::row::{CorruptRow, encoded, text};
use caduceus_contract::messages::ledger::HistoryEntry;

/// The checksum of versions up to 6: the first eight bytes of SHA-256.
pub(super) fn former_checksum(part: &str, id: i64, values: &[ValueRef<'_>]) -> i64 {
    Sha256::digest(encoded(part, id, values)).first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes))
}

/// Whether the `count` columns from `first` on match [`former_checksum`] in the column after them.
pub(super) fn former_verify(part: &str, id: i64, row: &Row<'_>, first: usize, count: usize) -> Result<(), CorruptRow> {
    let values = (first..first + count).map(|column| row.get_ref(column)).collect::<Result<Vec<_>, _>>()?;
    if row.get::<_, i64>(first + count)? == former_checksum(part, id, &values) { Ok(()) } else { Err(CorruptRow) }
}

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
            let (id, number): (i64, i64) = (row.get(0)?, row.get(5)?);
            let entry = || {
                former_verify(history::TABLE, id, row, 1, 3)?;
                let entry = HistoryEntry { role: row.get::<_, String>(2)?.into(), content: row.get(3)? };
                Ok::<_, CorruptRow>((row.get::<_, String>(1)?, entry))
            };
            match entry() {
                Ok((session, entry)) => {
                    let (length, entries) = packed(&[entry]);
                    let covered = [text(&session), ValueRef::Integer(length), text(&entries)];
                    let sum = former_checksum(history::TABLE, id, &covered);
                    insert.execute((id, number, length, &entries, sum))?;
                }
                Err(CorruptRow) => {
                    keep_corrupt.execute((id, number))?;
                }
            }
        }
    }
    connection.execute_batch("DROP TABLE entry; CREATE INDEX history_session ON history (session);")
}
