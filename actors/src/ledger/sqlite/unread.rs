//! The events that a drain refused and whose chats are not notified of that yet: a table of those few rows.

use rusqlite::Connection;

use super::transaction::SqliteTransaction;

/// Adds a recorded event.
pub(super) fn add(store: &SqliteTransaction<'_>, row: i64) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO unread \
               SELECT id, profile, link, platform, chat_id, bot_id, thread_id FROM inbound WHERE id = ?";
    store.connection.prepare_cached(sql)?.execute([row]).map(drop)
}

/// Removes an event, if it is there.
pub(super) fn remove(connection: &Connection, row: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM unread WHERE id = ?")?.execute([row]).map(drop)
}
