//! The step to version 7: columns for the times of each step, the gateway's id and the term, and another checksum.
//!
//! What an older build did not write is unknown: no times of the steps, no gateway, term 0. A row whose checksum is wrong keeps its wrong
//! checksum, so it stays corrupt. One that cannot be read at all, or not be stored in a strict table, becomes an empty corrupt row of the same
//! number: damage to one row must not cost the others.

use std::iter::once;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode};
use tracing::error;

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

/// Rows that are listed at a time.
const PAGE: i64 = 10_000;

/// A table whose rows get more columns: the part of its checksum, how its rows are read and written, and what a row becomes.
struct RenewedTable {
    part: &'static str,
    /// Its former name.
    old: &'static str,
    /// Selects the number, the columns under the checksum, and the checksum, of one row.
    read: &'static str,
    insert: &'static str,
    /// Adds an empty row, whose checksum is wrong.
    insert_empty: &'static str,
    columns: for<'a> fn(&[ValueRef<'a>]) -> Vec<ValueRef<'a>>,
    /// Columns after the checksum.
    after: fn(i64) -> Vec<ValueRef<'static>>,
}

const RENEWED: [RenewedTable; 4] = [
    RenewedTable {
        part: INBOUND_TABLE,
        old: "old_inbound",
        insert_empty: "INSERT INTO inbound (id, link, platform, chat_id, digest, profile, session, received_at_ms, term, event, sum) \
                       VALUES (?, '', '', '', x'', '', '', 0, 0, '', 0)",
        read: "SELECT id, link, platform, chat_id, bot_id, scope_id, user_id, thread_id, buffer_id, digest, message_id, \
               profile, session, received_at_ms, event, sum FROM old_inbound WHERE id = ?",
        insert: "INSERT INTO inbound VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        columns: |old| before_last(old, &[ValueRef::Null, ValueRef::Null, NO_TERM]),
        after: |_| Vec::new(),
    },
    RenewedTable {
        part: marks::INBOUND,
        old: "old_inbound_marks",
        insert_empty: "INSERT INTO inbound_marks (id, state, attempts, changed_at_ms, term, state_sum, keys_sum) \
                       VALUES (?, 0, 0, 0, 0, 0, 0)",
        read: "SELECT id, state, attempts, turn, note, changed_at_ms, state_sum FROM old_inbound_marks WHERE id = ?",
        insert: "INSERT INTO inbound_marks VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
        columns: |old| [old, &[ValueRef::Null, NO_TERM]].concat(),
        // The hashes are made anew at open, because there is no key for them.
        after: |row| marks::key_values(row, KeyHashes::default()).to_vec(),
    },
    RenewedTable {
        part: OUTBOUND_TABLE,
        old: "old_outbound",
        insert_empty: "INSERT INTO outbound (id, link, platform, chat_id, recorded_at_ms, term, action, sum) \
                       VALUES (?, '', '', '', 0, 0, '', 0)",
        read: "SELECT id, link, platform, chat_id, bot_id, scope_id, user_id, thread_id, inbound, turn, recorded_at_ms, \
               action, sum FROM old_outbound WHERE id = ?",
        insert: "INSERT INTO outbound VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        columns: |old| before_last(old, &[NO_TERM]),
        after: |_| Vec::new(),
    },
    RenewedTable {
        part: marks::OUTBOUND,
        old: "old_outbound_marks",
        insert_empty: "INSERT INTO outbound_marks (id, state, attempts, changed_at_ms, term, state_sum) \
                       VALUES (?, 0, 0, 0, 0, 0)",
        read: "SELECT id, state, attempts, message_id, error, changed_at_ms, state_sum FROM old_outbound_marks WHERE id = ?",
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
    let mut insert_empty = connection.prepare(table.insert_empty)?;
    let mut read = connection.prepare(table.read)?;
    let count = read.column_count() - 2;
    for_each_row(connection, table.old, |id| {
        let renewed = read.query_row([id], |row| {
            let old = (1..=count).map(|column| row.get_ref(column)).collect::<Result<Vec<_>, _>>()?;
            let columns = (table.columns)(&old);
            let sum = match former_verify(table.part, id, row, 1, count) {
                Ok(()) => ValueRef::Integer(checksum(table.part, id, &columns)),
                Err(_) => row.get_ref(count + 1)?,
            };
            insert.execute(params(once(ValueRef::Integer(id)).chain(columns).chain([sum]).chain((table.after)(id))))
        });
        match renewed {
            Err(error) if is_damage(&error) => {
                error!(table = table.part, row = id, %error, "row of the ledger is lost: it is damaged");
                insert_empty.execute([id])
            }
            other => other,
        }
    })
}

/// The checksum of a row of the history has its session's text. A conversation continues without an entry that is lost.
fn renew_history(connection: &Connection) -> rusqlite::Result<()> {
    let mut insert = connection.prepare("INSERT INTO history VALUES (?,?,?,?,?)")?;
    let mut read = connection.prepare(
        "SELECT old_history.id, old_history.session, length, entries, sum, sessions.session FROM old_history \
         LEFT JOIN sessions ON sessions.id = old_history.session WHERE old_history.id = ?",
    )?;
    for_each_row(connection, "old_history", |id| {
        let renewed = read.query_row([id], |row| {
            let columns = [1, 2, 3, 4, 5].map(|column| row.get_ref(column));
            let [number, length, entries, sum, session] = columns;
            let (number, sum, covered) = (number?, sum?, [session?, length?, entries?]);
            let is_good = sum == ValueRef::Integer(former_checksum(history::TABLE, id, &covered));
            let sum = if is_good { ValueRef::Integer(checksum(history::TABLE, id, &covered)) } else { sum };
            let [_, length, entries] = covered;
            insert.execute(params([ValueRef::Integer(id), number, length, entries, sum]))
        });
        match renewed {
            Err(error) if is_damage(&error) => {
                error!(table = history::TABLE, row = id, %error, "row of the ledger is lost: it is damaged");
                Ok(0)
            }
            other => other,
        }
    })
}

/// Calls `renew` with the number of each row of a table, in order. The numbers are read without the rows.
fn for_each_row(
    connection: &Connection,
    table: &str,
    mut renew: impl FnMut(i64) -> rusqlite::Result<usize>,
) -> rusqlite::Result<()> {
    let mut page = connection.prepare(&format!("SELECT id FROM {table} WHERE id > ? ORDER BY id LIMIT {PAGE}"))?;
    let mut after = i64::MIN;
    loop {
        let ids = page.query_map([after], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
        let Some(last) = ids.last() else { return Ok(()) };
        after = *last;
        for id in ids {
            renew(id)?;
        }
    }
}

/// Whether an error says that one row cannot be read, or that a column has not the type of its table.
fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::ConstraintViolation))
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
