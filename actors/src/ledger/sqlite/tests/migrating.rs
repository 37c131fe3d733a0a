//! Files of older versions.

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;

use super::*;
use crate::ledger::sqlite::migration::former_checksum;
use crate::ledger::sqlite::row::{params, text};
use crate::ledger::sqlite::schema::migrate_to;
use crate::ledger::store::Store as _;
use crate::ledger::tests::{received, restart};
use crate::turn::id::fresh_turn_id;
use caduceus_contract::profile_name::ProfileName;

/// The tables of version 3, as that build made them.
const VERSION_3: &str = include_str!("version_3.sql");

/// The file of a version 3 build, with rows in every state, a conversation, and row 9 and entry 3 corrupt.
fn version_3() -> Home {
    let home = Home::new();
    let file = home.peek();
    file.pragma_update(None, "journal_mode", "WAL").unwrap();
    file.execute_batch(VERSION_3).unwrap();
    for code in 0..8 {
        inbound(&file, code + 1, code);
    }
    inbound(&file, 9, 0);
    file.execute("UPDATE inbound SET event = 'other' WHERE id = 9", ()).unwrap();
    for code in 0..6 {
        outbound(&file, code + 1, code);
    }
    for (id, chat, role, content) in
        [(1, "a", "user", "one"), (2, "b", "user", "two"), (3, "a", "assistant", "three"), (4, "a", "user", "four")]
    {
        let session = session(chat);
        let session = session.stored();
        let sum = former_checksum("history", id, &[text(session), text(role), text(content)]);
        file.execute("INSERT INTO history VALUES (?,?,?,?,?)", (id, session, role, content, sum)).unwrap();
    }
    file.execute("UPDATE history SET content = 'tree' WHERE id = 3", ()).unwrap();
    home
}

/// Row `id` with the event of that number, in the state with this code; refused rows are those of a drain.
fn inbound(file: &Connection, id: i64, code: i64) {
    let event = event(id.unsigned_abs());
    let (integer, now) = (ValueRef::Integer, jiff::Timestamp::now().as_millisecond());
    let (turn, session) = (fresh_turn_id().to_string(), event.session.stored());
    let note = if code == 6 { "drain" } else { "note" };
    let state = [integer(code), integer(code + 1), text(&turn), text(note), integer(now)];
    let fixed = [
        text(&event.target.link.0),
        text("slack"),
        text("chat"),
        text("bot"),
        ValueRef::Null,
        text("user"),
        ValueRef::Null,
        text(event.buffer_id.as_deref().unwrap()),
        ValueRef::Blob(&event.digest),
        text(event.message_id.as_deref().unwrap()),
        text("default"),
        text(session),
        integer(now),
        text(event.event.get()),
    ];
    insert(file, ("inbound", "inbound.state"), id, &state, &fixed);
}

fn outbound(file: &Connection, id: i64, code: i64) {
    let (integer, now) = (ValueRef::Integer, jiff::Timestamp::now().as_millisecond());
    let state = [integer(code), integer(1), ValueRef::Null, ValueRef::Null, integer(now)];
    let target = [text("default"), text("slack"), text("chat"), ValueRef::Null, ValueRef::Null, ValueRef::Null];
    let action = [ValueRef::Null, integer(1), ValueRef::Null, integer(now), text("{\"op\":\"send\"}")];
    let fixed: Vec<_> = target.into_iter().chain(action).collect();
    insert(file, ("outbound", "outbound.state"), id, &state, &fixed);
}

fn insert(file: &Connection, (table, part): (&str, &str), id: i64, state: &[ValueRef<'_>], fixed: &[ValueRef<'_>]) {
    let sums = [former_checksum(part, id, state), former_checksum(table, id, fixed)].map(ValueRef::Integer);
    let values = [&[ValueRef::Integer(id)], state, &sums[..1], fixed, &sums[1..]].concat();
    let places = vec!["?"; values.len()].join(",");
    let values = params(values);
    file.execute(&format!("INSERT INTO {table} VALUES ({places})"), values).unwrap();
}

#[test]
fn a_file_of_version_3_is_migrated_with_its_rows_in_every_state() {
    let home = version_3();
    let writer = home.open();
    let view = writer.view();
    let counts: Vec<u64> = view.inbound.values().copied().collect();
    assert_eq!((counts, view.outbound.len()), (vec![2, 1, 1, 1, 1, 1, 1, 1], 6));
    for (state, id) in [
        (InboundState::Received, 1),
        (InboundState::Running, 2),
        (InboundState::Held, 3),
        (InboundState::Interrupted, 4),
        (InboundState::Done, 5),
        (InboundState::Failed, 6),
        (InboundState::Refused, 7),
        (InboundState::Dead, 8),
    ] {
        let rows =
            wait(writer.ask(ListInbound { share: DispatchShare::ALL, states: vec![state], after: None, limit: 9 }))
                .unwrap();
        let columns: Vec<_> = rows.iter().map(|row| (row.id.0, row.state, row.attempts)).collect();
        assert_eq!(columns, [(id, state, u32::try_from(id).unwrap())]);
        assert_eq!(rows[0].event, event(id.unsigned_abs()).event.get());
    }
    // Row 9, and entry 3.
    until_corrupt(&writer, 2);
    for (state, id) in [
        (OutboundState::Pending, 1),
        (OutboundState::Sending, 2),
        (OutboundState::Ambiguous, 3),
        (OutboundState::Delivered, 4),
        (OutboundState::Refused, 5),
        (OutboundState::Dead, 6),
    ] {
        let rows = wait(writer.ask(ListOutbound { states: vec![state], after: None, limit: 9 })).unwrap();
        assert_eq!(rows.iter().map(|row| row.id.0).collect::<Vec<_>>(), [id]);
    }
    // What arrived before is a duplicate, and the chat of the refused event is still to be notified.
    for id in 1..9 {
        let again = wait(writer.ask(event(id))).unwrap();
        assert!(matches!(again, Recorded::Duplicate { id: found, .. } if found.0.unsigned_abs() == id), "{again:?}");
    }
    assert_eq!(record(&writer, 100), InboundId(10));
    assert_eq!(wait(writer.ask(ListRefusals)).unwrap(), [ProfileName::default_profile()]);
}

/// The file of a version 6 build: that of version 3, with hashes of keys.
fn version_6() -> Home {
    let home = version_3();
    let file = home.peek();
    migrate_to(&file, 3, 6).unwrap();
    file.execute("UPDATE inbound_marks SET frame = id, message = -id", ()).unwrap();
    file.execute("INSERT INTO hash_key VALUES (1, zeroblob(16), 7)", ()).unwrap();
    home
}

/// Applies `damage` to a file as if its tables had no types, so that a row gets what SQLite would refuse.
fn damage_types(home: &Home, damage: &str) {
    let file = home.peek();
    file.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
    let schema: Vec<(String, String)> = file
        .prepare("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
        .unwrap()
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let write = |name: &str, sql: &str| {
        file.pragma_update(None, "writable_schema", true).unwrap();
        file.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", [sql, name]).unwrap();
    };
    for (name, sql) in &schema {
        write(name, &sql.replace(" STRICT", "").replace(" NOT NULL", ""));
    }
    home.peek().execute_batch(damage).unwrap();
    for (name, sql) in &schema {
        write(name, sql);
    }
}

#[test]
fn a_file_of_version_6_is_migrated_and_its_keys_are_hashed_again() {
    let home = version_6();
    let writer = home.open();
    for id in 1..9 {
        let again = wait(writer.ask(event(id))).unwrap();
        assert!(matches!(again, Recorded::Duplicate { id: found, .. } if found.0.unsigned_abs() == id), "{again:?}");
    }
    assert_eq!(record(&writer, 100), InboundId(10));
    close(&writer);
    assert_eq!(home.open_store().corrupt_rows(), 1, "row 9, whose event cannot be hashed");
}

#[test]
fn a_row_whose_columns_have_the_wrong_type_does_not_prevent_the_migration_of_the_others() {
    let home = version_6();
    damage_types(
        &home,
        "UPDATE inbound SET event = x'00' WHERE id = 1;
         UPDATE inbound_marks SET attempts = NULL WHERE id = 2;
         UPDATE outbound SET action = NULL WHERE id = 1;
         UPDATE outbound_marks SET attempts = 'x' WHERE id = 2;
         UPDATE history SET entries = NULL WHERE id = 1;",
    );
    let writer = home.open();
    assert_eq!(received(&writer), []);
    let rows = |state| wait(writer.ask(ListOutbound { states: vec![state], after: None, limit: 9 })).unwrap();
    assert!(rows(OutboundState::Pending).is_empty() && rows(OutboundState::Sending).is_empty());
    assert_eq!(rows(OutboundState::Ambiguous).len(), 1);
    let entries = wait(writer.ask(LoadHistory { session: session("a"), limit: 9 })).unwrap();
    assert_eq!(entries.iter().map(|entry| entry.content.as_str()).collect::<Vec<_>>(), ["four"]);
    assert_eq!(record(&writer, 100), InboundId(10));
}

type Columns = (Option<i64>, Option<i64>, i64);

#[test]
fn of_a_row_of_version_3_the_times_of_its_steps_the_gateway_and_the_term_are_unknown() {
    let home = version_3();
    let writer = home.open();
    record(&writer, 100);
    close(&writer);
    let file = home.peek();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let of = |sql: &str| file.query_row(sql, (), row).unwrap();
    let old: Columns = of("SELECT arrived_at_ms, begun_at_ms, inbound.term + inbound_marks.term \
                           FROM inbound JOIN inbound_marks USING (id) WHERE id = 2");
    assert_eq!(old, (None, None, 0));
    let reply: Columns = of("SELECT sent_at_ms, NULL, outbound.term + outbound_marks.term \
                             FROM outbound JOIN outbound_marks USING (id) WHERE id = 2");
    assert_eq!(reply, (None, None, 0));
    let new: Columns = of("SELECT arrived_at_ms, begun_at_ms, inbound.term + inbound_marks.term \
                           FROM inbound JOIN inbound_marks USING (id) WHERE id = 10");
    assert_eq!(new, (Some(7), None, 2));
}

#[test]
fn the_conversations_of_version_3_continue_and_their_corrupt_entries_stay_corrupt() {
    let home = version_3();
    let writer = home.open();
    let load = |chat: &str| {
        let entries = wait(writer.ask(LoadHistory { session: session(chat), limit: 9 })).unwrap();
        entries.into_iter().map(|entry| format!("{} {}", entry.role, entry.content)).collect::<Vec<_>>()
    };
    assert_eq!((load("a"), load("b")), (vec!["user one".into(), "user four".into()], vec!["user two".into()]));
    until_corrupt(&writer, 2);
    let entries = vec![HistoryEntry { role: "user".into(), content: "five".to_owned() }];
    wait(writer.ask(AppendHistory { session: session("a"), entries, keep: 2 })).unwrap();
    assert_eq!((load("a"), load("b")), (vec!["user four".into(), "user five".into()], vec!["user two".into()]));
}

#[test]
fn a_migration_that_fails_leaves_the_file_as_it_was() {
    let home = version_3();
    // A name that the migration needs is taken.
    home.peek().execute_batch("CREATE TABLE sessions (id INTEGER PRIMARY KEY)").unwrap();
    assert!(LedgerWriter::open(&home.path).is_err());
    let file = home.peek();
    let version: i64 = file.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let rows = |table: &str| -> i64 {
        file.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!((version, rows("inbound"), rows("outbound"), rows("history")), (3, 9, 6, 4));
    file.execute_batch("DROP TABLE sessions").unwrap();
    drop(file);
    assert_eq!(received(&home.open()).len(), 1);
}

#[test]
fn a_file_of_the_first_version_is_migrated_with_its_content() {
    let home = version_3();
    home.peek().execute_batch("DROP TABLE restarts; DROP INDEX inbound_unread; PRAGMA user_version = 1;").unwrap();
    let writer = home.open();
    assert_eq!(received(&writer).len(), 1);
    assert_eq!(restart(&writer, 0), 1);
}

#[test]
fn the_starts_that_version_3_counted_still_count_unless_they_are_corrupt() {
    let home = version_3();
    let starts = [1_800_000_000_005, 1_800_000_000_006];
    let good = former_checksum("restarts", starts[0], &[]);
    for start in starts {
        home.peek().execute("INSERT INTO restarts VALUES (?, ?)", [start, good]).unwrap();
    }
    let writer = home.open();
    assert_eq!(restart(&writer, 7), 2, "the first of them and this one");
    // The second, row 9, and entry 3.
    until_corrupt(&writer, 3);
}
