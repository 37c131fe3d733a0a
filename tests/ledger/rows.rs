//! The rows of a ledger, read by SQLite alone from a copy, while no gateway has it.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, Row};

/// The states in the order of their numbers on disk.
pub(crate) const INBOUND: [&str; 8] =
    ["received", "running", "held", "interrupted", "done", "failed", "refused", "dead"];
pub(crate) const OUTBOUND: [&str; 6] = ["pending", "sending", "ambiguous", "delivered", "refused", "dead"];

/// An event.
#[derive(Debug)]
pub(crate) struct EventRow {
    pub(crate) buffer_id: Option<String>,
    pub(crate) message_id: String,
    pub(crate) state: &'static str,
    pub(crate) attempts: u32,
}

/// A reply, or a notice of the gateway.
#[derive(Debug)]
pub(crate) struct ReplyRow {
    /// The message id of the event that it answers; a notice answers none.
    pub(crate) answers: Option<String>,
    pub(crate) chat: String,
    pub(crate) action: String,
    pub(crate) state: &'static str,
}

/// All rows.
#[derive(Debug)]
pub(crate) struct LedgerRows {
    pub(crate) events: Vec<EventRow>,
    pub(crate) replies: Vec<ReplyRow>,
}

impl LedgerRows {
    /// Those of the ledger at `path`; none if there is no ledger yet. The files stay as they are: SQLite would write the log back.
    pub(crate) fn of(path: &Path) -> Self {
        let copy = tempfile::tempdir().unwrap();
        let to = copy.path().join("ledger.db");
        if !path.exists() {
            return Self { events: Vec::new(), replies: Vec::new() };
        }
        fs::copy(path, &to).unwrap();
        let log = format!("{}-wal", path.display());
        if Path::new(&log).exists() {
            fs::copy(log, copy.path().join("ledger.db-wal")).unwrap();
        }
        let connection = Connection::open(to).unwrap();
        // A start that was killed early leaves a file without tables.
        let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0)).unwrap();
        if tables == 0 {
            return Self { events: Vec::new(), replies: Vec::new() };
        }
        let events =
            "SELECT buffer_id, message_id, state, attempts FROM inbound_marks JOIN inbound USING (id) ORDER BY id";
        let event = |row: &Row<'_>| {
            Ok(EventRow {
                buffer_id: row.get(0)?,
                message_id: row.get::<_, Option<String>>(1)?.unwrap_or_default(),
                state: INBOUND[usize::from(row.get::<_, u8>(2)?)],
                attempts: row.get(3)?,
            })
        };
        let replies = "SELECT event.message_id, reply.chat_id, action, state FROM outbound_marks AS marks \
            JOIN outbound AS reply USING (id) LEFT JOIN inbound AS event ON event.id = reply.inbound ORDER BY marks.id";
        let reply = |row: &Row<'_>| {
            let (answers, chat, action) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(ReplyRow { answers, chat, action, state: OUTBOUND[usize::from(row.get::<_, u8>(3)?)] })
        };
        let mut read = connection.prepare(events).unwrap();
        let events = read.query_map((), event).unwrap().map(Result::unwrap).collect();
        let mut read = connection.prepare(replies).unwrap();
        let replies = read.query_map((), reply).unwrap().map(Result::unwrap).collect();
        Self { events, replies }
    }

    /// The state of an event.
    pub(crate) fn state(&self, message_id: &str) -> Option<&'static str> {
        self.events.iter().find(|event| event.message_id == message_id).map(|event| event.state)
    }
}
