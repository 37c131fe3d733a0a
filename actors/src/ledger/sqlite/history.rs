//! The conversation of each session, its last entries: one row for the entries that were appended together.
//!
//! A row has the number of its session, and its checksum has the session's text, so that a conversation is never served to
//! another session.

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row};

use super::row::{CorruptRow, checksum, params, text};
use super::sessions::{KnownSession, SessionDigest};
use super::transaction::SqliteTransaction;
use crate::ledger::failure::Failure;
use caduceus_contract::messages::ledger::{AppendHistory, HistoryEntry, LoadHistory};

/// The table's name in SQL and in errors.
pub(super) const TABLE: &str = "history";
const NEWEST: &str = "SELECT id, length, entries, sum FROM history WHERE session = ? ORDER BY id DESC";
/// As [`NEWEST`], without the index.
const NEWEST_BY_TABLE: &str =
    "SELECT id, length, entries, sum FROM history NOT INDEXED WHERE session = ? ORDER BY id DESC";
const OLDEST: &str = "SELECT id, length, entries, sum FROM history WHERE session = ? ORDER BY id LIMIT 1";

/// Appends to a conversation, and deletes its oldest entries above the limit.
pub(super) fn append(store: &mut SqliteTransaction<'_>, message: &AppendHistory) -> Result<(), Failure> {
    let session = message.session.stored();
    // Entries above the limit need not be written first.
    let entries = &message.entries[message.entries.len().saturating_sub(message.keep)..];
    let digest = store.memory.session_digest(session);
    let mut known = match find(store, session, digest)? {
        Some(known) => known,
        None if entries.is_empty() => return Ok(()),
        None => create(store, session)?,
    };
    // No savepoint, which copies every page: after the row, which may be too large, only the end of the transaction fails.
    if !entries.is_empty() {
        store.ids.history += 1;
        let (length, content) = packed(entries);
        let row = history_values(store.ids.history, session, known.number, length, &content);
        store.connection.prepare_cached("INSERT INTO history VALUES (?,?,?,?,?)")?.execute(params(row))?;
        known.entries = known.entries.saturating_add(length);
    }
    trim(store, session, &mut known, i64::try_from(message.keep).unwrap_or(i64::MAX))?;
    store.memory.set_session(digest, known);
    Ok(())
}

/// The last entries of a conversation. A corrupt row is left out and logged: the conversation continues without it.
pub(super) fn load(store: &mut SqliteTransaction<'_>, message: &LoadHistory) -> Result<Vec<HistoryEntry>, Failure> {
    let session = message.session.stored();
    let digest = store.memory.session_digest(session);
    let Some(known) = find(store, session, digest)? else { return Ok(Vec::new()) };
    store.memory.set_session(digest, known);
    if let Some(entries) = read(store, NEWEST, known.number, session, message.limit)? {
        return Ok(entries);
    }
    store.corrupt.add_place("index history_session: does not agree with its table".to_owned());
    Ok(read(store, NEWEST_BY_TABLE, known.number, session, message.limit)?.unwrap_or_default())
}

/// The last `limit` entries; `None` if the rows are not in order, which is damage to the index.
fn read(
    store: &mut SqliteTransaction<'_>,
    sql: &str,
    number: i64,
    session: &str,
    limit: usize,
) -> Result<Option<Vec<HistoryEntry>>, Failure> {
    let connection = store.connection;
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([number])?;
    let mut newest_first = Vec::new();
    let mut before = i64::MAX;
    while newest_first.len() < limit
        && let Some(row) = rows.next()?
    {
        let id = row.get(0)?;
        if id >= before {
            return Ok(None);
        }
        before = id;
        match entries(row, session) {
            Ok(entries) => newest_first.extend(entries.into_iter().rev()),
            Err(CorruptRow) => drop(store.corrupt(TABLE, id)),
        }
    }
    newest_first.truncate(limit);
    newest_first.reverse();
    Ok(Some(newest_first))
}

/// The session with this text, if it has a row.
fn find(store: &SqliteTransaction<'_>, session: &str, digest: SessionDigest) -> rusqlite::Result<Option<KnownSession>> {
    if let Some(known) = store.memory.session(digest) {
        return Ok(Some(known));
    }
    // `total` is a float and does not overflow, whatever a corrupt row has.
    let sql = "SELECT id, (SELECT CAST(total(length) AS INTEGER) FROM history WHERE history.session = sessions.id) \
               FROM sessions WHERE session = ?";
    let mut statement = store.connection.prepare_cached(sql)?;
    statement.query_row([session], |row| Ok(KnownSession { number: row.get(0)?, entries: row.get(1)? })).optional()
}

fn create(store: &SqliteTransaction<'_>, session: &str) -> rusqlite::Result<KnownSession> {
    let number = store.connection.prepare_cached("INSERT INTO sessions (session) VALUES (?)")?.insert([session])?;
    Ok(KnownSession { number, entries: 0 })
}

/// Deletes the oldest entries above `keep`: whole rows, and of the last one the entries that are too many.
fn trim(store: &mut SqliteTransaction<'_>, session: &str, known: &mut KnownSession, keep: i64) -> Result<(), Failure> {
    let connection = store.connection;
    while known.entries > keep {
        let mut oldest = connection.prepare_cached(OLDEST)?;
        let mut rows = oldest.query([known.number])?;
        let Some(row) = rows.next()? else {
            known.entries = 0;
            return Ok(());
        };
        // A corrupt row counts as one entry.
        let (id, length): (i64, i64) = (row.get(0)?, row.get(1).unwrap_or(1));
        if known.entries.saturating_sub(length) >= keep {
            drop(rows);
            // A damaged index may lead to a row of another session.
            let mut delete = connection.prepare_cached("DELETE FROM history WHERE id = ? AND session = ?")?;
            if delete.execute([id, known.number])? == 0 {
                return Ok(());
            }
            known.entries = known.entries.saturating_sub(length);
            continue;
        }
        // A corrupt row stays as it is, and is deleted with its last entry.
        let Ok(entries) = entries(row, session) else { return Ok(()) };
        drop(rows);
        let excess = usize::try_from(known.entries - keep).unwrap_or_default();
        let (length, content) = packed(&entries[excess.min(entries.len())..]);
        let [.., sum] = history_values(id, session, known.number, length, &content);
        let values = [ValueRef::Integer(length), text(&content), sum, ValueRef::Integer(id)];
        connection
            .prepare_cached("UPDATE history SET length = ?, entries = ?, sum = ? WHERE id = ?")?
            .execute(params(values))?;
        known.entries = keep;
    }
    Ok(())
}

/// Entries as stored: their number and their JSON.
pub(super) fn packed(entries: &[HistoryEntry]) -> (i64, String) {
    // Strings in a list: serialisation cannot fail.
    (i64::try_from(entries.len()).unwrap_or(i64::MAX), serde_json::to_string(entries).unwrap_or_default())
}

/// The columns of a row.
pub(super) fn history_values<'a>(
    id: i64,
    session: &str,
    number: i64,
    length: i64,
    entries: &'a str,
) -> [ValueRef<'a>; 5] {
    let sum = checksum(TABLE, id, &[text(session), ValueRef::Integer(length), text(entries)]);
    let integer = ValueRef::Integer;
    [integer(id), integer(number), integer(length), text(entries), integer(sum)]
}

/// The entries of a row with the columns number, length, entries and checksum.
pub(super) fn entries(row: &Row<'_>, session: &str) -> Result<Vec<HistoryEntry>, CorruptRow> {
    let sum = checksum(TABLE, row.get(0)?, &[text(session), row.get_ref(1)?, row.get_ref(2)?]);
    if row.get::<_, i64>(3)? != sum {
        return Err(CorruptRow);
    }
    let entries: String = row.get(2)?;
    serde_json::from_str(&entries).map_err(|_| CorruptRow)
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::ledger::sqlite::store::SqliteStore;
    use crate::ledger::store::Store as _;
    use caduceus_contract::profile_name::ProfileName;
    use caduceus_contract::wire::event::Source;
    use caduceus_contract::wire::session::{SessionKey, SessionRules};

    #[test]
    fn no_statement_is_prepared_again_when_the_session_changes() {
        let home = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(&home.path().join("ledger")).unwrap();
        let mut transaction = store.begin(0).unwrap();
        for turn in 0..30 {
            let source = Source { chat_id: format!("chat-{}", turn % 3), ..Source::default() };
            let session = SessionKey::new(&source, &ProfileName::default_profile(), SessionRules::default());
            let entry = HistoryEntry { role: "user".into(), content: turn.to_string() };
            append(&mut transaction, &AppendHistory { session, entries: vec![entry], keep: 2 }).unwrap();
        }
        let oldest = transaction.connection.prepare_cached(OLDEST).unwrap();
        assert!(oldest.get_status(StatementStatus::Run) > 20);
        assert_eq!(oldest.get_status(StatementStatus::RePrepare), 0);
    }
}
