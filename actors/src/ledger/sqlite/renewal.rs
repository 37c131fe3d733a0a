//! The step to version 7: columns for the times of each step, the gateway's id and the term, and another checksum.
//!
//! What an older build did not write is unknown: no times of the steps, no gateway, term 0. A row whose checksum is wrong keeps its wrong
//! checksum, so it stays corrupt.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::duplicates::KeyHashes;
use super::marks::{self, INBOUND_TABLE, OUTBOUND_TABLE};
use super::migration::{former_checksum, former_verify};
use super::row::{checksum, params};
use super::{history, restarts};

/// The term of rows from before there were terms.
const NO_TERM: ValueRef<'static> = ValueRef::Integer(0);

const TABLES: &str = r"
    ALTER TABLE inbound RENAME TO old_inbound;
    ALTER TABLE inbound_marks RENAME TO old_inbound_marks;
    ALTER TABLE outbound RENAME TO old_outbound;
    ALTER TABLE outbound_marks RENAME TO old_outbound_marks;
    ALTER TABLE history RENAME TO old_history;
    DROP INDEX history_session;

    CREATE TABLE inbound_marks (
        id INTEGER PRIMARY KEY,
        state INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        turn TEXT,
        note TEXT,
        changed_at_ms INTEGER NOT NULL,
        begun_at_ms INTEGER,
        term INTEGER NOT NULL,
        state_sum INTEGER NOT NULL,
        frame INTEGER,
        message INTEGER,
        keys_sum INTEGER NOT NULL
    ) STRICT;
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
        arrived_at_ms INTEGER,
        gateway TEXT,
        term INTEGER NOT NULL,
        event TEXT NOT NULL,
        sum INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE outbound_marks (
        id INTEGER PRIMARY KEY,
        state INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        message_id TEXT,
        error TEXT,
        changed_at_ms INTEGER NOT NULL,
        sent_at_ms INTEGER,
        term INTEGER NOT NULL,
        state_sum INTEGER NOT NULL
    ) STRICT;
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
        term INTEGER NOT NULL,
        action TEXT NOT NULL,
        sum INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE history (
        id INTEGER PRIMARY KEY,
        session INTEGER NOT NULL,
        length INTEGER NOT NULL,
        entries TEXT NOT NULL,
        sum INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE terms (id INTEGER PRIMARY KEY, member TEXT NOT NULL, started_at_ms INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT;
";

const REST: &str = r"
    DROP TABLE old_inbound;
    DROP TABLE old_inbound_marks;
    DROP TABLE old_outbound;
    DROP TABLE old_outbound_marks;
    DROP TABLE old_history;
    CREATE INDEX history_session ON history (session);
    DELETE FROM hash_key;
";

/// A table whose rows get more columns: the part of its checksum, how its rows are read and written, and what a row becomes.
struct RenewedTable {
    part: &'static str,
    /// Selects the number, the columns under the checksum, and the checksum.
    read: &'static str,
    insert: &'static str,
    columns: for<'a> fn(&[ValueRef<'a>]) -> Vec<ValueRef<'a>>,
    /// Columns after the checksum.
    after: fn(i64) -> Vec<ValueRef<'static>>,
}

const RENEWED: [RenewedTable; 4] = [
    RenewedTable {
        part: INBOUND_TABLE,
        read: "SELECT id, link, platform, chat_id, bot_id, scope_id, user_id, thread_id, buffer_id, digest, message_id, \
               profile, session, received_at_ms, event, sum FROM old_inbound ORDER BY id",
        insert: "INSERT INTO inbound VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        columns: |old| before_last(old, &[ValueRef::Null, ValueRef::Null, NO_TERM]),
        after: |_| Vec::new(),
    },
    RenewedTable {
        part: marks::INBOUND,
        read: "SELECT id, state, attempts, turn, note, changed_at_ms, state_sum FROM old_inbound_marks ORDER BY id",
        insert: "INSERT INTO inbound_marks VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
        columns: |old| [old, &[ValueRef::Null, NO_TERM]].concat(),
        // The hashes are made anew at open, because there is no key for them.
        after: |row| marks::key_values(row, KeyHashes::default()).to_vec(),
    },
    RenewedTable {
        part: OUTBOUND_TABLE,
        read: "SELECT id, link, platform, chat_id, bot_id, scope_id, user_id, thread_id, inbound, turn, recorded_at_ms, \
               action, sum FROM old_outbound ORDER BY id",
        insert: "INSERT INTO outbound VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        columns: |old| before_last(old, &[NO_TERM]),
        after: |_| Vec::new(),
    },
    RenewedTable {
        part: marks::OUTBOUND,
        read: "SELECT id, state, attempts, message_id, error, changed_at_ms, state_sum FROM old_outbound_marks ORDER BY id",
        insert: "INSERT INTO outbound_marks VALUES (?,?,?,?,?,?,?,?,?)",
        columns: |old| [old, &[ValueRef::Null, NO_TERM]].concat(),
        after: |_| Vec::new(),
    },
];

/// Columns with others before the last one, which is the content.
fn before_last<'a>(old: &[ValueRef<'a>], added: &[ValueRef<'a>]) -> Vec<ValueRef<'a>> {
    let (content, rest) =
        old.split_last().map_or((&[][..], old), |(content, rest)| (std::slice::from_ref(content), rest));
    [rest, added, content].concat()
}

/// Copies all rows into the tables of version 7.
pub(super) fn renew_rows(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)?;
    for table in &RENEWED {
        renew(connection, table)?;
    }
    renew_history(connection)?;
    renew_restarts(connection)?;
    connection.execute_batch(REST)
}

fn renew(connection: &Connection, table: &RenewedTable) -> rusqlite::Result<()> {
    let mut insert = connection.prepare(table.insert)?;
    let mut read = connection.prepare(table.read)?;
    let count = read.column_count() - 2;
    let mut rows = read.query(())?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let old = (1..=count).map(|column| row.get_ref(column)).collect::<Result<Vec<_>, _>>()?;
        let columns = (table.columns)(&old);
        let sum = match former_verify(table.part, id, row, 1, count) {
            Ok(()) => ValueRef::Integer(checksum(table.part, id, &columns)),
            Err(_) => row.get_ref(count + 1)?,
        };
        let values = std::iter::once(ValueRef::Integer(id)).chain(columns).chain([sum]).chain((table.after)(id));
        insert.execute(params(values))?;
    }
    Ok(())
}

/// The checksum of a row of the history has its session's text.
fn renew_history(connection: &Connection) -> rusqlite::Result<()> {
    let mut insert = connection.prepare("INSERT INTO history VALUES (?,?,?,?,?)")?;
    let mut read = connection.prepare(
        "SELECT old_history.id, old_history.session, length, entries, sum, sessions.session FROM old_history \
         LEFT JOIN sessions ON sessions.id = old_history.session ORDER BY old_history.id",
    )?;
    let mut rows = read.query(())?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let [number, length, entries, sum, session] =
            [row.get_ref(1)?, row.get_ref(2)?, row.get_ref(3)?, row.get_ref(4)?, row.get_ref(5)?];
        let covered = [session, length, entries];
        let is_good = sum == ValueRef::Integer(former_checksum(history::TABLE, id, &covered));
        let sum = if is_good { ValueRef::Integer(checksum(history::TABLE, id, &covered)) } else { sum };
        insert.execute(params([ValueRef::Integer(id), number, length, entries, sum]))?;
    }
    Ok(())
}

fn renew_restarts(connection: &Connection) -> rusqlite::Result<()> {
    let mut read = connection.prepare("SELECT id, sum FROM restarts")?;
    let rows = read.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<Vec<(i64, i64)>, _>>()?;
    for (id, sum) in rows {
        if sum == former_checksum(restarts::TABLE, id, &[]) {
            let renewed = checksum(restarts::TABLE, id, &[]);
            connection.execute("UPDATE restarts SET sum = ? WHERE id = ?", [renewed, id])?;
        }
    }
    Ok(())
}
