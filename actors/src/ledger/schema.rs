//! The tables, and the migration of an older file.
//!
//! In `inbound` and `outbound` the constant columns and those that a mark changes have a checksum each, so that a mark need
//! not read the event again. The index on the state is a full one: it costs one more entry a row than one of open
//! rows only, and counts a full ledger at open without reading its rows.

use rusqlite::Connection;

/// The version that this build writes. A file of a higher version is left unchanged.
pub(super) const VERSION: i64 = 3;

/// `schema[n]` takes a file from version `n` to `n + 1`.
const STEPS: [&str; 3] = [
    r"
    CREATE TABLE inbound (
        id INTEGER PRIMARY KEY,
        state INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        turn TEXT,
        note TEXT,
        changed_at_ms INTEGER NOT NULL,
        state_sum INTEGER NOT NULL,
        link TEXT NOT NULL,
        platform TEXT NOT NULL,
        chat_id TEXT NOT NULL,
        bot_id TEXT,
        scope_id TEXT,
        user_id TEXT,
        thread_id TEXT,
        buffer_id TEXT,
        digest BLOB NOT NULL,
        message_id TEXT,
        profile TEXT NOT NULL,
        session TEXT NOT NULL,
        received_at_ms INTEGER NOT NULL,
        event TEXT NOT NULL,
        sum INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX inbound_state ON inbound (state);
    CREATE UNIQUE INDEX inbound_frame ON inbound (link, buffer_id, digest) WHERE buffer_id IS NOT NULL;
    CREATE UNIQUE INDEX inbound_message ON inbound (link, platform, chat_id, message_id) WHERE message_id IS NOT NULL;

    CREATE TABLE outbound (
        id INTEGER PRIMARY KEY,
        state INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        message_id TEXT,
        error TEXT,
        changed_at_ms INTEGER NOT NULL,
        state_sum INTEGER NOT NULL,
        link TEXT NOT NULL,
        platform TEXT NOT NULL,
        chat_id TEXT NOT NULL,
        bot_id TEXT,
        scope_id TEXT,
        user_id TEXT,
        thread_id TEXT,
        inbound INTEGER,
        turn TEXT,
        recorded_at_ms INTEGER NOT NULL,
        action TEXT NOT NULL,
        sum INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX outbound_state ON outbound (state);

    CREATE TABLE history (
        id INTEGER PRIMARY KEY,
        session TEXT NOT NULL,
        role TEXT NOT NULL,
        content TEXT NOT NULL,
        sum INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX history_session ON history (session);
",
    // Starts of the process that found interrupted turns, by milliseconds since 1970.
    r"
    CREATE TABLE restarts (
        id INTEGER PRIMARY KEY,
        sum INTEGER NOT NULL
    ) STRICT;
",
    // Chats to be notified that a drain refused messages of theirs: an index of those few rows.
    r"
    CREATE INDEX inbound_unread ON inbound (profile, link, platform, chat_id, bot_id, thread_id)
        WHERE state = 6 AND note = 'drain';
",
];

/// The version of a file. 0 is an empty one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Migrates a file of version `from` to [`VERSION`], completely or not at all.
pub(super) fn migrate(connection: &Connection, from: i64) -> rusqlite::Result<()> {
    let missing = STEPS.iter().skip(usize::try_from(from).unwrap_or_default());
    let steps: String = missing.copied().collect();
    if steps.is_empty() {
        return Ok(());
    }
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(&steps)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// A write that changes nothing.
pub(super) fn touch(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "user_version", VERSION)
}
