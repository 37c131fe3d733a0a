//! The events that a drain refused and whose chats are not notified of that yet: a table of those few rows.

use rusqlite::Connection;

use super::transaction::SqliteTransaction;

/// Adds a recorded event.
pub(super) fn add(store: &SqliteTransaction<'_>, row: i64) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO unread \
               SELECT id, profile, link, platform, chat_id, bot_id, thread_id FROM inbound WHERE id = ?";
    store.connection.prepare_cached(sql)?.execute([row]).map(drop)
}

/// The rows of the table, by the marks and the events that are good enough for it.
pub(super) const ROWS: &str = "SELECT id, profile, link, platform, chat_id, bot_id, thread_id FROM inbound \
     JOIN inbound_marks USING (id) WHERE state = 6 AND note = 'drain' \
     AND typeof(profile) || typeof(link) || typeof(platform) || typeof(chat_id) = 'texttexttexttext' \
     AND typeof(coalesce(bot_id, '')) || typeof(coalesce(thread_id, '')) = 'texttext'";

/// Makes the table again if it is not what the marks and the events say. Returns whether it did.
pub(super) fn mend(connection: &Connection) -> rusqlite::Result<bool> {
    let differs =
        format!("SELECT EXISTS (SELECT * FROM unread EXCEPT {ROWS}) OR EXISTS ({ROWS} EXCEPT SELECT * FROM unread)");
    let differs = connection.query_row(&differs, (), |row| row.get(0))?;
    if differs {
        // Dropped after an error, it is undone.
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(&format!("DELETE FROM unread; INSERT INTO unread {ROWS}"))?;
        transaction.commit()?;
    }
    Ok(differs)
}

/// Removes an event, if it is there.
pub(super) fn remove(connection: &Connection, row: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM unread WHERE id = ?")?.execute([row]).map(drop)
}
