//! The thread's memory of a file that was just opened, from the short rows of marks alone.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};

use super::duplicates::{DuplicateKeys, HashKey};
use super::memory::Memory;
use super::row::{checksum, params, verify};
use super::states::RowCounts;

/// Part of the checksum of the key of the hashes, and its table.
const HASH_KEY: &str = "hash_key";

/// The memory and the counts of the file. Some 30 ms for 100,000 rows.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<(Memory, RowCounts)> {
    let hash_key = hash_key(connection)?;
    let mut row_counts = RowCounts::default();
    let mut keys = Vec::new();
    {
        let mut statement = connection.prepare("SELECT id, state, frame, message FROM inbound_marks")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            count(&mut row_counts.inbound, row.get(1)?);
            let hashes = [row.get::<_, Option<i64>>(2)?, row.get(3)?];
            keys.extend(hashes.into_iter().flatten().map(|hash| (hash, id)));
        }
    }
    let mut statement = connection.prepare("SELECT state FROM outbound_marks")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        count(&mut row_counts.outbound, row.get(0)?);
    }
    Ok((Memory::new(hash_key, DuplicateKeys::from_iter(keys)), row_counts))
}

/// Counts a row. An unknown state is a corrupt row, which is found when it is read.
fn count(counts: &mut [i64], code: i64) {
    if let Some(count) = usize::try_from(code).ok().and_then(|code| counts.get_mut(code)) {
        *count += 1;
    }
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
