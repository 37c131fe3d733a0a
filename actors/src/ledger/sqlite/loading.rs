//! The thread's memory of a file that was just opened, from the short rows of marks alone.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};
use tracing::warn;

use super::duplicates::{DuplicateKeys, HashKey, KeyHashes};
use super::inbound::FIXED_COLUMNS;
use super::marks;
use super::memory::Memory;
use super::open_rows::OpenRows;
use super::row::{CorruptRow, checksum, integer, params, verify};
use super::terms;
use super::transaction::CorruptRows;
use crate::ledger::states::{INBOUND_DEAD, INBOUND_OPEN, OUTBOUND_DEAD, OUTBOUND_OPEN, RowCounts};

/// Part of the checksum of the key of the hashes, and its table.
const HASH_KEY: &str = "hash_key";
const READ_KEYS: &str = "SELECT id, link, buffer_id, digest, platform, chat_id, message_id FROM inbound";
const WRITE_HASHES: &str = "UPDATE inbound_marks SET frame = ?, message = ?, keys_sum = ? WHERE id = ?";

/// What is known of the rows of an open file.
#[derive(Debug)]
pub(super) struct LoadedRows {
    pub(super) memory: Memory,
    pub(super) row_counts: RowCounts,
    pub(super) corrupt: CorruptRows,
    /// The last term in the marks.
    pub(super) last_term: i64,
}

/// Reads the marks of all rows, some 40 ms for 100,000 rows of each kind. The checksums of marks are verified when a row is read, and
/// by the check after the start; those of key hashes are verified here, because a wrong one would let an event run twice.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<LoadedRows> {
    let hash_key = hash_key(connection)?;
    let mut row_counts = RowCounts::default();
    let mut corrupt = CorruptRows::default();
    let mut last_term = 0;
    let (mut keys, mut without_keys) = (Vec::new(), Vec::new());
    let (mut inbound, mut outbound) =
        (OpenRows::new(INBOUND_OPEN, INBOUND_DEAD), OpenRows::new(OUTBOUND_OPEN, OUTBOUND_DEAD));
    {
        let mut statement =
            connection.prepare("SELECT id, state, term, frame, message, keys_sum FROM inbound_marks")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let id = add(row, &mut row_counts.inbound, &mut inbound)?;
            last_term = last_term.max(terms::plausible(integer(row, 2)));
            match marks::key_hashes(row, id, 3) {
                Ok(hashes) => keys.extend(hashes.all().map(|hash| (hash, id))),
                Err(CorruptRow) => without_keys.push(id),
            }
        }
    }
    for (id, hashes) in renew_hashes(connection, &hash_key, &without_keys, &mut corrupt)? {
        keys.extend(hashes.all().map(|hash| (hash, id)));
    }
    let mut statement = connection.prepare("SELECT id, state, term FROM outbound_marks")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        add(row, &mut row_counts.outbound, &mut outbound)?;
        last_term = last_term.max(terms::plausible(integer(row, 2)));
    }
    let memory = Memory::new(hash_key, DuplicateKeys::from_iter(keys), inbound, outbound);
    Ok(LoadedRows { memory, row_counts, corrupt, last_term })
}

/// Adds a row to the counts and to the open rows, and returns its number. An unknown state is a corrupt row, which is not used.
fn add(row: &Row<'_>, counts: &mut [i64], open: &mut OpenRows) -> rusqlite::Result<i64> {
    let (id, code) = (row.get(0)?, usize::try_from(integer(row, 1)).ok());
    if let Some(count) = code.and_then(|code| counts.get_mut(code)) {
        *count += 1;
    }
    open.move_row(id, None, code);
    Ok(id)
}

/// The key of the hashes in this file. If there is none, or a corrupt one, a new one, and no hash is good any more.
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
    connection.execute("UPDATE inbound_marks SET frame = NULL, message = NULL, keys_sum = 0", ())?;
    transaction.commit()?;
    Ok(key)
}

/// Makes the hashes of `rows`, which are corrupt or of another key, from their events. An event that is corrupt too has none.
fn renew_hashes(
    connection: &Connection,
    key: &HashKey,
    rows: &[i64],
    corrupt: &mut CorruptRows,
) -> rusqlite::Result<Vec<(i64, KeyHashes)>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let transaction = connection.unchecked_transaction()?;
    let mut renewed = Vec::new();
    {
        let mut write = connection.prepare(WRITE_HASHES)?;
        let mut read = connection.prepare(&format!("{READ_KEYS} WHERE id = ?"))?;
        let mut whole = connection.prepare("SELECT * FROM inbound WHERE id = ?")?;
        for id in rows.iter().copied() {
            // Only of a good event, or the keys of something else would be found.
            let is_good = |row: &Row<'_>| Ok(verify(marks::INBOUND_TABLE, id, row, 1, FIXED_COLUMNS).is_ok());
            let is_good = whole.query_row([id], is_good).optional()? == Some(true);
            if !is_good {
                drop(corrupt.add(marks::INBOUND_TABLE, id));
                continue;
            }
            let hashes = read.query_row([id], |row| hashes(row, key))?;
            write.execute(params(marks::key_values(id, hashes).into_iter().chain([ValueRef::Integer(id)])))?;
            renewed.push((id, hashes));
        }
    }
    transaction.commit()?;
    if !renewed.is_empty() {
        warn!(rows = renewed.len(), "keys in the ledger were made again from their events");
    }
    Ok(renewed)
}

/// The hashes of a row of [`READ_KEYS`].
fn hashes(row: &Row<'_>, key: &HashKey) -> rusqlite::Result<KeyHashes> {
    let (link, buffer, message) = (row.get_ref(1)?, row.get_ref(2)?, row.get_ref(6)?);
    let frame = match buffer {
        ValueRef::Null => None,
        buffer => Some(key.frame(link, buffer, row.get_ref(3)?)),
    };
    let message = match message {
        ValueRef::Null => None,
        message => Some(key.message([link, row.get_ref(4)?, row.get_ref(5)?, message])),
    };
    Ok(KeyHashes { frame, message })
}
