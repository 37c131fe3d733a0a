//! The thread's memory of a file that was just opened, from the short rows of marks alone.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::duplicates::{DuplicateKeys, HashKey};
use super::memory::Memory;
use super::open_rows::OpenRows;
use super::row::{checksum, params, verify};
use super::transaction::CorruptRows;
use crate::ledger::states::{INBOUND_OPEN, OUTBOUND_OPEN, RowCounts};

/// Part of the checksum of the key of the hashes, and its table.
const HASH_KEY: &str = "hash_key";

/// What is known of the rows of an open file.
#[derive(Debug)]
pub(super) struct LoadedRows {
    pub(super) memory: Memory,
    pub(super) row_counts: RowCounts,
    pub(super) corrupt: CorruptRows,
}

/// Reads the marks of all rows, some 40 ms for 100,000 rows of each kind. Their checksums are verified when a row is read, and
/// by the check after the start.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<LoadedRows> {
    let hash_key = hash_key(connection)?;
    let mut row_counts = RowCounts::default();
    let mut keys = Vec::new();
    let (mut inbound, mut outbound) = (OpenRows::new(INBOUND_OPEN), OpenRows::new(OUTBOUND_OPEN));
    {
        let mut statement = connection.prepare("SELECT id, state, frame, message FROM inbound_marks")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let id = add(row, &mut row_counts.inbound, &mut inbound)?;
            let hashes = [row.get::<_, Option<i64>>(2)?, row.get(3)?];
            keys.extend(hashes.into_iter().flatten().map(|hash| (hash, id)));
        }
    }
    let mut statement = connection.prepare("SELECT id, state FROM outbound_marks")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        add(row, &mut row_counts.outbound, &mut outbound)?;
    }
    let memory = Memory::new(hash_key, DuplicateKeys::from_iter(keys), inbound, outbound);
    Ok(LoadedRows { memory, row_counts, corrupt: CorruptRows::default() })
}

/// Adds a row to the counts and to the open rows, and returns its number. An unknown state is a corrupt row, which is not used.
fn add(row: &Row<'_>, counts: &mut [i64], open: &mut OpenRows) -> rusqlite::Result<i64> {
    let (id, code) = (row.get(0)?, usize::try_from(row.get::<_, i64>(1)?).ok());
    if let Some(count) = code.and_then(|code| counts.get_mut(code)) {
        *count += 1;
    }
    open.move_row(id, None, code);
    Ok(id)
}

/// The key of the hashes in this file. If there is none, or a corrupt one, a new one with new hashes.
fn hash_key(connection: &Connection) -> rusqlite::Result<HashKey> {
    let mut statement = connection.prepare("SELECT id, key, sum FROM hash_key WHERE id = 1")?;
    let found = statement
        .query_row((), |row| Ok(verify(HASH_KEY, 1, row, 1, 1).ok().and_then(|()| row.get(1).ok()).map(HashKey)))
        .optional()?;
    if let Some(Some(found)) = found {
        return Ok(found);
    }
    let transaction = connection.unchecked_transaction()?;
    let key = HashKey(connection.query_row("SELECT randomblob(16)", (), |row| row.get(0))?);
    let sum = checksum(HASH_KEY, 1, &[ValueRef::Blob(&key.0)]);
    connection.execute("INSERT OR REPLACE INTO hash_key VALUES (1, ?, ?)", (key.0, sum))?;
    hash_rows(connection, &key)?;
    transaction.commit()?;
    Ok(key)
}

/// Writes the hashes of all rows.
fn hash_rows(connection: &Connection, key: &HashKey) -> rusqlite::Result<()> {
    let mut write = connection.prepare("UPDATE inbound_marks SET frame = ?, message = ? WHERE id = ?")?;
    let mut read = connection
        .prepare("SELECT id, link, buffer_id, digest, platform, chat_id, message_id FROM inbound ORDER BY id")?;
    let mut rows = read.query(())?;
    while let Some(row) = rows.next()? {
        let (link, buffer, message) = (row.get_ref(1)?, row.get_ref(2)?, row.get_ref(6)?);
        let frame = match buffer {
            ValueRef::Null => ValueRef::Null,
            buffer => ValueRef::Integer(key.frame(link, buffer, row.get_ref(3)?)),
        };
        let message = match message {
            ValueRef::Null => ValueRef::Null,
            message => ValueRef::Integer(key.message([link, row.get_ref(4)?, row.get_ref(5)?, message])),
        };
        write.execute(params([frame, message, row.get_ref(0)?]))?;
    }
    Ok(())
}
