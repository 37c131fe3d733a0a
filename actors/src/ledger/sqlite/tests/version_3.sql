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

CREATE TABLE restarts (
    id INTEGER PRIMARY KEY,
    sum INTEGER NOT NULL
) STRICT;

CREATE INDEX inbound_unread ON inbound (profile, link, platform, chat_id, bot_id, thread_id)
    WHERE state = 6 AND note = 'drain';

PRAGMA user_version = 3;
