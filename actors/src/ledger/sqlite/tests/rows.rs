//! The rows of the file, as another program finds or changes them.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::ledger::sqlite::duplicates::KeyHashes;
use crate::ledger::sqlite::marks::key_values;
use crate::ledger::sqlite::row::params;
use crate::ledger::store::{Expiry, Store as _};
use crate::ledger::tests::suite::transactions::commit;
use crate::ledger::tests::{CEILING, append, interrupted, links, load, received, refused, settle};
use crate::time::now_ms;
use crate::turn::id::fresh_turn_id;
use caduceus_contract::api::ledger::{RowId, RowState};
use caduceus_contract::api::ledger_changes::RowRefusal;
use caduceus_contract::json::RawJson;
use caduceus_contract::messages::batch::Batch;
use caduceus_contract::messages::ledger_control::{FinishedRows, LedgerHolder, RecordRetry, ShowRow};

#[test]
fn a_batch_is_one_commit_and_so_is_the_end_of_a_turn() {
    let home = Home::new();
    let writer = home.open();
    record(&writer, 1);
    let mut before = commits_in_log(&home.path);
    let mut is_one_more = || {
        let (last, now) = (before, commits_in_log(&home.path));
        before = now;
        now == last + 1
    };
    wait(writer.ask(Batch(vec![event(2), event(3), event(2)]))).unwrap();
    assert!(is_one_more(), "a batch");
    let sent = wait(writer.ask(reply(Some(InboundId(2)), OutboundState::Sending))).unwrap();
    assert!(is_one_more(), "a reply");
    wait(writer.ask(settle(InboundId(2), sent))).unwrap();
    assert!(is_one_more(), "the end of a turn");
}

#[test]
fn an_event_whose_hash_is_that_of_another_is_no_duplicate() {
    let home = Home::new();
    let writer = home.open();
    let ids = [1, 2, 3].map(|number| record(&writer, number));
    close(&writer);
    // Row 1 has the hashes of event 2, whose own row is gone.
    let file = home.peek();
    let read = "SELECT frame, message FROM inbound_marks WHERE id = 2";
    let hashes = |row: &rusqlite::Row<'_>| Ok(KeyHashes { frame: row.get(0)?, message: row.get(1)? });
    let hashes = file.query_row(read, (), hashes).unwrap();
    let write = "UPDATE inbound_marks SET frame = ?, message = ?, keys_sum = ? WHERE id = 1";
    assert_eq!(file.execute(write, params(key_values(1, hashes))).unwrap(), 1);
    file.execute_batch("DELETE FROM inbound WHERE id = 2; DELETE FROM inbound_marks WHERE id = 2;").unwrap();
    drop(file);

    let writer = home.open();
    let id = record(&writer, 2);
    assert!(!ids.contains(&id));
    // Behind a row with the same hash, it is found.
    let by_frame = RecordInbound { message_id: None, ..event(2) };
    let by_message = RecordInbound { buffer_id: None, ..event(2) };
    for again in [by_frame, by_message] {
        assert_eq!(wait(writer.ask(again)).unwrap(), Recorded::Duplicate { id, state: InboundState::Received });
    }
}

#[test]
fn duplicates_are_found_after_the_key_of_the_hashes_was_lost() {
    for damage in ["DELETE FROM hash_key", "UPDATE hash_key SET key = zeroblob(16)"] {
        let home = Home::new();
        let writer = home.open();
        let id = record(&writer, 1);
        close(&writer);
        assert_eq!(home.peek().execute(damage, ()).unwrap(), 1);
        let again = wait(home.open().ask(event(1))).unwrap();
        assert_eq!(again, Recorded::Duplicate { id, state: InboundState::Received });
    }
}

#[test]
fn old_finished_rows_are_deleted_and_open_ones_never() {
    let home = Home::new();
    let writer = home.open();
    for number in 1..=5 {
        record(&writer, number);
    }
    for id in [1, 2, 4, 5] {
        wait(writer.ask(mark(InboundId(id), InboundState::Done))).unwrap();
    }
    close(&writer);
    home.peek().execute("UPDATE inbound_marks SET changed_at_ms = 0 WHERE id <> 2", []).unwrap();
    let writer = home.open();
    // The first sweep runs at the start or right after the first work, so before the second.
    record(&writer, 6);
    record(&writer, 7);
    let left: Vec<i64> = {
        let peek = home.peek();
        let mut statement = peek.prepare("SELECT id FROM inbound ORDER BY id").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    // The newest row stays until there is a newer one, because its number must not be reused.
    let without_newest = left.iter().copied().filter(|id| *id != 5).collect::<Vec<_>>();
    assert_eq!(without_newest, [2, 3, 6, 7]);
    let view = writer.view();
    assert_eq!(view.inbound.values().sum::<u64>(), left.len() as u64);
}

#[test]
fn what_is_in_flight_is_not_read_again_and_another_program_cannot_change_how_it_ends() {
    let home = Home::new();
    let writer = home.open();
    let event = record(&writer, 1);
    wait(writer.ask(mark(event, InboundState::Running))).unwrap();
    let sent = wait(writer.ask(reply(Some(event), OutboundState::Sending))).unwrap();
    let peek = home.peek();
    peek.execute("UPDATE inbound_marks SET attempts = 9, state = 4", ()).unwrap();
    peek.execute("UPDATE outbound_marks SET attempts = 9, error = 'other'", ()).unwrap();

    let delivered = MarkOutbound { id: sent, state: OutboundState::Ambiguous, message_id: None, error: None };
    wait(writer.ask(delivered)).unwrap();
    wait(writer.ask(mark(event, InboundState::Interrupted))).unwrap();
    let attempts = |table| peek.query_row(&format!("SELECT attempts FROM {table}"), (), |row| row.get::<_, i64>(0));
    assert_eq!((attempts("inbound_marks"), attempts("outbound_marks")), (Ok(1), Ok(1)));
    let rows = wait(writer.ask(ListInbound {
        share: DispatchShare::ALL,
        states: vec![InboundState::Interrupted],
        after: None,
        limit: 9,
    }))
    .unwrap();
    assert_eq!(rows.iter().map(|row| (row.id, row.attempts)).collect::<Vec<_>>(), [(event, 1)]);
    assert_eq!(writer.view().corrupt, 0);
}

#[test]
fn turns_are_withdrawn_although_another_program_deleted_one_of_them() {
    let home = Home::new();
    let writer = home.open();
    let turns = [1, 2, 3].map(|_| fresh_turn_id());
    for (number, turn) in (1..).zip(turns) {
        let event = RecordInbound { state: InboundState::Running, turn: Some(turn), ..event(number) };
        wait(writer.ask(event)).unwrap();
    }
    home.peek().execute("DELETE FROM inbound_marks WHERE id = 2", ()).unwrap();
    let withdrawn = wait(writer.ask(WithdrawTurns { turns: turns.to_vec() })).unwrap();
    assert_eq!(withdrawn, [(turns[2], InboundId(3)), (turns[0], InboundId(1))]);
}

#[test]
fn a_row_in_flight_that_another_program_deleted_is_missing() {
    let home = Home::new();
    let writer = home.open();
    let event = record(&writer, 1);
    wait(writer.ask(mark(event, InboundState::Running))).unwrap();
    home.peek().execute("DELETE FROM inbound_marks", ()).unwrap();
    let ended = wait(writer.ask(mark(event, InboundState::Done)));
    assert_eq!(ended, Err(LedgerError::Missing { table: "inbound", row: event.0 }));
}

#[test]
fn an_interrupted_event_is_deleted_after_a_week_and_not_before() {
    let home = Home::new();
    let writer = home.open();
    for number in [1, 2] {
        wait(writer.ask(interrupted(number, "chat"))).unwrap();
    }
    // The newest row of all stays in any state.
    record(&writer, 3);
    close(&writer);
    let day_ms = 24 * 3_600 * 1_000_i64;
    let age = |row: i64, days: i64| {
        let sql = "UPDATE inbound_marks SET changed_at_ms = changed_at_ms - ? WHERE id = ?";
        home.peek().execute(sql, (days * day_ms, row)).unwrap();
    };
    age(1, 8);
    age(2, 6);
    let writer = home.open();
    let begun = std::time::Instant::now();
    while writer.view().inbound.get(&InboundState::Interrupted) != Some(&1) {
        assert!(begun.elapsed() < CEILING, "the old one was not deleted within the timeout: {:?}", writer.view());
        std::thread::sleep(Duration::from_millis(10));
    }
    let left: i64 =
        home.peek().query_row("SELECT id FROM inbound_marks WHERE state = 3", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 2);
}

#[test]
fn the_query_of_unread_chats_uses_its_index() {
    let home = Home::new();
    let writer = home.open();
    record(&writer, 1);
    let sql = "EXPLAIN QUERY PLAN SELECT json_group_array(id) FROM unread WHERE profile = ?1 \
               GROUP BY link, platform, chat_id, bot_id, thread_id LIMIT ?2";
    let plan: Vec<String> = {
        let peek = home.peek();
        let mut statement = peek.prepare(sql).unwrap();
        let plan = statement.query_map(("default", 1), |row| row.get(3)).unwrap();
        plan.map(Result::unwrap).collect()
    };
    assert!(plan.len() == 1 && plan[0].contains("unread_chat"), "{plan:?}");
}

#[test]
fn a_refused_event_that_is_marked_again_or_deleted_is_no_longer_unread() {
    let home = Home::new();
    let writer = home.open();
    for number in 1..=2 {
        wait(writer.ask(refused(number, "a"))).unwrap();
    }
    record(&writer, 3);
    let noted = MarkInbound { note: Some("busy".to_owned()), ..mark(InboundId(1), InboundState::Refused) };
    wait(writer.ask(noted)).unwrap();
    let unread = || -> Vec<i64> {
        let peek = home.peek();
        let mut statement = peek.prepare("SELECT id FROM unread").unwrap();
        statement.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(unread(), [2]);
    close(&writer);
    home.peek().execute("UPDATE inbound_marks SET changed_at_ms = 0 WHERE id = 2", ()).unwrap();
    let writer = home.open();
    // The first sweep runs at the start or right after the first work, so before the second.
    record(&writer, 4);
    record(&writer, 5);
    assert_eq!(unread(), Vec::<i64>::new());
    assert_eq!(wait(writer.ask(ListRefusals)).unwrap(), []);
}

#[test]
fn the_entries_of_a_turn_are_one_row_and_the_file_has_none_above_the_limit() {
    let home = Home::new();
    let writer = home.open();
    for turn in 0..5 {
        append(&writer, "chat", &[&format!("question {turn}"), &format!("answer {turn}")], 4);
    }
    assert_eq!(history_rows(&home), 2);
    append(&writer, "chat", &["a", "b", "c"], 4);
    assert_eq!(load(&writer, "chat", 9), ["answer 4", "a", "b", "c"]);
    let text: String =
        home.peek().query_row("SELECT group_concat(entries) FROM history", [], |row| row.get(0)).unwrap();
    assert!(!text.contains("question"), "an entry above the limit is in the file: {text}");
    append(&writer, "chat", &["d"], 0);
    assert_eq!((history_rows(&home), load(&writer, "chat", 9)), (0, vec![]));
}

#[test]
fn an_operation_that_ends_its_transaction_is_answered_with_the_reason() {
    let home = Home::new();
    let writer = home.open();
    let event = record(&writer, 1);
    let refusal = "CREATE TRIGGER refuse BEFORE INSERT ON unread BEGIN SELECT RAISE(ROLLBACK, 'a bad sector'); END";
    home.peek().execute(refusal, ()).unwrap();
    let refused = MarkInbound { note: Some(REFUSED_BY_DRAIN.to_owned()), ..mark(event, InboundState::Refused) };
    let answer = wait(writer.ask(refused));
    assert!(matches!(&answer, Err(LedgerError::Unwritable(reason)) if reason.contains("a bad sector")), "{answer:?}");
    assert_eq!(received(&writer).len(), 1);
    assert_eq!(writer.view().inbound, [(InboundState::Received, 1)].into());
}

#[test]
fn a_row_has_the_times_of_its_steps_its_gateway_and_the_process_that_wrote_it() {
    let home = Home::new();
    let begun = now_ms();
    let writer = home.open();
    let event = record(&writer, 1);
    wait(writer.ask(mark(event, InboundState::Running))).unwrap();
    let sent = wait(writer.ask(reply(Some(event), OutboundState::Pending))).unwrap();
    close(&writer);
    // The next process sends the reply and ends the turn.
    let writer = home.open();
    let sending = MarkOutbound { id: sent, state: OutboundState::Sending, message_id: None, error: None };
    wait(writer.ask(sending)).unwrap();
    wait(writer.ask(settle(event, sent))).unwrap();
    close(&writer);

    let file = home.peek();
    let columns =
        "arrived_at_ms, received_at_ms, begun_at_ms, changed_at_ms, inbound.term, inbound_marks.term, gateway";
    let sql = format!("SELECT {columns} FROM inbound JOIN inbound_marks USING (id)");
    let found: (i64, i64, i64, i64, i64, i64, String) = file
        .query_row(&sql, (), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?))
        })
        .unwrap();
    let (arrived, recorded, running, ended, recorded_in, ended_in, gateway) = found;
    assert_eq!((arrived, recorded_in, ended_in, gateway.as_str()), (7, 1, 2, "gw-1"));
    assert!(begun <= recorded && recorded <= running && running <= ended, "{recorded} {running} {ended}");

    let columns = "recorded_at_ms, sent_at_ms, changed_at_ms, outbound.term, outbound_marks.term";
    let sql = format!("SELECT {columns} FROM outbound JOIN outbound_marks USING (id)");
    let found: [i64; 5] =
        file.query_row(&sql, (), |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?])).unwrap();
    let [recorded, sent, delivered, recorded_in, delivered_in] = found;
    assert_eq!((recorded_in, delivered_in), (1, 2));
    assert!(running <= recorded && recorded <= sent && sent <= delivered, "{recorded} {sent} {delivered}");

    let terms = "SELECT group_concat(id), count(DISTINCT member), min(length(member)) > 0 FROM terms";
    let terms: (String, i64, bool) =
        file.query_row(terms, (), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    assert_eq!(terms, ("1,2".to_owned(), 1, true));
}

#[test]
fn that_a_reply_was_sent_again_is_verified_carried_over_and_deleted_with_it() {
    let home = Home::new();
    let mut store = home.open_store();
    let action = RawJson::of(&json!({"op": "send", "chat_id": "chat", "content": "answer"}));
    for _ in 0..2 {
        commit(&mut store, 0, &RecordOutbound { action: action.clone(), ..reply(None, OutboundState::Sending) });
    }
    for id in [1, 2].map(OutboundId) {
        let dead = MarkOutbound { id, state: OutboundState::Dead, message_id: None, error: None };
        commit(&mut store, 1, &dead);
        let again = RecordRetry {
            id: RowId::Reply(id),
            finished: FinishedRows::Refuse,
            holder: LedgerHolder::Gateway,
            links: links(),
        };
        commit(&mut store, 1, &again).unwrap();
    }
    let rows = |home: &Home| -> Vec<(i64, i64)> {
        let file = home.peek();
        let mut read = file.prepare("SELECT id, again FROM sent_again ORDER BY id").unwrap();
        read.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(rows(&home), [(1, 3), (2, 4)]);
    // Of a damaged row is known that its reply was sent again, in this file and in the one that it is carried over to.
    drop(store);
    home.peek().execute("UPDATE sent_again SET again = 9 WHERE id = 2", ()).unwrap();
    let mut store = home.open_store();
    while store.check_rows().unwrap() {}
    assert_eq!(store.corrupt_rows(), 1);
    let out = |id| RowId::Reply(OutboundId(id));
    let assert_known = |store: &mut SqliteStore| {
        for (id, again) in [(1, 3), (2, 0)] {
            let detail = commit(store, 2, &ShowRow { id: out(id), with_text: false });
            assert_eq!((detail.row.state, detail.sent_again_as), (RowState::Refused, Some(out(again))));
            let (finished, holder) = (FinishedRows::Repeat, LedgerHolder::Gateway);
            let once_more = RecordRetry { id: out(id), finished, holder, links: links() };
            assert_eq!(commit(store, 2, &once_more), Err(RowRefusal::SentAgain(out(id), out(again))));
        }
    };
    assert_known(&mut store);
    assert!(store.opened.rows.corrupt.has("sent_again", 2) && !store.opened.rows.corrupt.has("outbound", 2));
    store.opened.synced.set_damaged().unwrap();
    drop(store);
    let mut store = home.open_store();
    assert!(!store.damage().is_empty(), "it was carried over");
    assert_eq!(rows(&home), [(1, 3), (2, 0)]);
    assert_known(&mut store);
    let expiry = Expiry { changed_before_ms: i64::MAX, excess_inbound: 0, excess_outbound: 0, slice: 100 };
    store.delete_expired(&expiry).unwrap();
    assert_eq!(rows(&home), []);
}
