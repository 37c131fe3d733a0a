//! The tables, and the migration of an older file.
//!
//! Of an event and of a reply, what never changes is in one table (`inbound`, `outbound`), and what a mark changes is in a short row of
//! another (`inbound_marks`, `outbound_marks`), each with its checksum, so that a mark neither reads nor writes the event again.

use rusqlite::Connection;

use super::{migration, renewal};

/// The version that this build writes. A file of a higher version is left unchanged.
pub(super) const VERSION: i64 = 8;

/// The indexes of this version. Each can be made again from its table.
pub(super) const INDEXES: [&str; 3] = ["history_session", "sessions_session", "unread_chat"];

/// One step of a migration, inside its transaction.
enum MigrationStep {
    Sql(&'static str),
    /// What SQL alone cannot do.
    Run(fn(&Connection) -> rusqlite::Result<()>),
}

/// `STEPS[n]` takes a file from version `n` to `n + 1`.
const STEPS: [MigrationStep; 8] = [
    MigrationStep::Sql(
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
    ),
    // Starts of the process that found interrupted turns, by milliseconds since 1970.
    MigrationStep::Sql(
        r"
    CREATE TABLE restarts (
        id INTEGER PRIMARY KEY,
        sum INTEGER NOT NULL
    ) STRICT;
",
    ),
    // Chats to be notified that a drain refused messages of theirs: an index of those few rows.
    MigrationStep::Sql(
        r"
    CREATE INDEX inbound_unread ON inbound (profile, link, platform, chat_id, bot_id, thread_id)
        WHERE state = 6 AND note = 'drain';
",
    ),
    // A row of the history for the entries that were appended together, with its session as a number.
    MigrationStep::Run(migration::number_sessions),
    // Marks beside the events and messages, hashes in place of the indexes over keys, unread events in a table.
    MigrationStep::Sql(
        r"
    DROP INDEX inbound_state;
    DROP INDEX inbound_frame;
    DROP INDEX inbound_message;
    DROP INDEX inbound_unread;
    DROP INDEX outbound_state;
    ALTER TABLE inbound RENAME TO old_inbound;
    ALTER TABLE outbound RENAME TO old_outbound;

    CREATE TABLE inbound_marks (
        id INTEGER PRIMARY KEY,
        state INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        turn TEXT,
        note TEXT,
        changed_at_ms INTEGER NOT NULL,
        state_sum INTEGER NOT NULL,
        frame INTEGER,
        message INTEGER
    ) STRICT;
    INSERT INTO inbound_marks
        SELECT id, state, attempts, turn, note, changed_at_ms, state_sum, NULL, NULL FROM old_inbound ORDER BY id;
    CREATE INDEX inbound_marks_state ON inbound_marks (state);
    CREATE TABLE inbound (
        id INTEGER PRIMARY KEY,
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
    INSERT INTO inbound
        SELECT id, link, platform, chat_id, bot_id, scope_id, user_id, thread_id, buffer_id, digest, message_id, profile,
            session, received_at_ms, event, sum FROM old_inbound ORDER BY id;

    CREATE TABLE unread (
        id INTEGER PRIMARY KEY,
        profile TEXT NOT NULL,
        link TEXT NOT NULL,
        platform TEXT NOT NULL,
        chat_id TEXT NOT NULL,
        bot_id TEXT,
        thread_id TEXT
    ) STRICT;
    INSERT INTO unread
        SELECT id, profile, link, platform, chat_id, bot_id, thread_id FROM old_inbound
        WHERE state = 6 AND note = 'drain' ORDER BY id;
    CREATE INDEX unread_chat ON unread (profile, link, platform, chat_id, bot_id, thread_id);

    CREATE TABLE outbound_marks (
        id INTEGER PRIMARY KEY,
        state INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        message_id TEXT,
        error TEXT,
        changed_at_ms INTEGER NOT NULL,
        state_sum INTEGER NOT NULL
    ) STRICT;
    INSERT INTO outbound_marks
        SELECT id, state, attempts, message_id, error, changed_at_ms, state_sum FROM old_outbound ORDER BY id;
    CREATE INDEX outbound_marks_state ON outbound_marks (state);
    CREATE TABLE outbound (
        id INTEGER PRIMARY KEY,
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
    INSERT INTO outbound
        SELECT id, link, platform, chat_id, bot_id, scope_id, user_id, thread_id, inbound, turn, recorded_at_ms, action,
            sum FROM old_outbound ORDER BY id;

    DROP TABLE old_inbound;
    DROP TABLE old_outbound;
    CREATE TABLE hash_key (id INTEGER PRIMARY KEY, key BLOB NOT NULL, sum INTEGER NOT NULL) STRICT;
",
    ),
    // Rows in an open state are in memory.
    MigrationStep::Sql("DROP INDEX inbound_marks_state; DROP INDEX outbound_marks_state;"),
    // The times of each step, the gateway's id and the term; another checksum, and one over the hashes of the keys.
    MigrationStep::Run(renewal::renew_rows),
    // The replies that an operator has sent again, each with the new one. It was a text in the error before, which connectors write too. A
    // table of its own, because a column cannot be added to one with corrupt rows.
    MigrationStep::Sql(
        "CREATE TABLE sent_again (id INTEGER PRIMARY KEY, again INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT;",
    ),
];

/// The version of a file. 0 is an empty one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Migrates a file of version `from` to [`VERSION`], completely or not at all.
pub(super) fn migrate(connection: &Connection, from: i64) -> rusqlite::Result<()> {
    migrate_to(connection, from, VERSION)
}

/// Migrates a file of version `from` to version `to`, for tests of the files that older builds left.
pub(super) fn migrate_to(connection: &Connection, from: i64, to: i64) -> rusqlite::Result<()> {
    let [from, until] = [from, to].map(|version| usize::try_from(version).unwrap_or_default());
    let missing = STEPS.iter().take(until).skip(from);
    if missing.len() == 0 {
        return Ok(());
    }
    let transaction = connection.unchecked_transaction()?;
    for step in missing {
        match step {
            MigrationStep::Sql(sql) => transaction.execute_batch(sql)?,
            MigrationStep::Run(step) => step(&transaction)?,
        }
    }
    transaction.pragma_update(None, "user_version", to)?;
    transaction.commit()
}

/// Gives the file an identity, if it has none: a random number in its header, by which a copy of its first page is known to be its own.
pub(super) fn identify(connection: &Connection) -> rusqlite::Result<()> {
    let identity: i32 = connection.query_row("PRAGMA application_id", (), |row| row.get(0))?;
    if identity == 0 {
        connection.pragma_update(None, "application_id", fastrand::i32(1..))?;
    }
    Ok(())
}

/// A write that changes nothing.
pub(super) fn touch(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "user_version", VERSION)
}
