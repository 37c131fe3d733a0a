//! Everything recorded is read back.

use super::*;
use crate::turn::id::fresh_turn_id;

#[test]
fn everything_recorded_is_there_after_reopening() {
    let (home, turn) = (Home::new(), fresh_turn_id());
    let writer = home.open();
    let (first, second) = (record(&writer, 1), record(&writer, 2));
    let running =
        MarkInbound { id: first, state: InboundState::Running, turn: Some(turn), note: Some("runs".to_owned()) };
    wait(writer.ask(running)).unwrap();
    let sent = wait(writer.ask(reply(Some(first), OutboundState::Sending))).unwrap();
    let waiting = wait(writer.ask(reply(None, OutboundState::Pending))).unwrap();
    close(&writer);

    let writer = home.open();
    let rows = wait(writer.ask(ListInbound {
        states: vec![InboundState::Received, InboundState::Running, InboundState::Running],
        after: None,
        limit: 10,
    }))
    .unwrap();
    let columns: Vec<_> = rows.iter().map(|row| (row.id, row.state, row.attempts, row.turn)).collect();
    assert_eq!(columns, [(first, InboundState::Running, 1, Some(turn)), (second, InboundState::Received, 0, None)]);
    let source = event(1);
    assert_eq!((&rows[0].target, &rows[0].event), (&source.target, &source.event));
    assert_eq!((&rows[0].session, &rows[0].profile), (&source.session, &source.profile));
    assert!(rows[0].received_at_ms > 1_600_000_000_000);

    let states = vec![OutboundState::Sending, OutboundState::Pending];
    let rows = wait(writer.ask(ListOutbound { states, after: None, limit: 10 })).unwrap();
    let columns: Vec<_> = rows.iter().map(|row| (row.id, row.inbound, row.state, row.attempts)).collect();
    assert_eq!(columns, [(sent, Some(first), OutboundState::Sending, 1), (waiting, None, OutboundState::Pending, 0)]);
    assert_eq!((&rows[0].target, rows[0].action.as_str()), (&target(), "{\"op\":\"send\"}"));

    let view = writer.view();
    assert_eq!(view.inbound, [(InboundState::Received, 1), (InboundState::Running, 1)].into());
    assert_eq!(view.outbound, [(OutboundState::Pending, 1), (OutboundState::Sending, 1)].into());
    assert!(matches!(record(&writer, 3), InboundId(3)), "a number was reused");
}

#[test]
fn the_same_frame_or_the_same_message_is_a_duplicate_of_the_first() {
    let home = Home::new();
    let writer = home.open();
    let first = record(&writer, 1);
    let ask = |event: RecordInbound| wait(writer.ask(event)).unwrap();

    let same_frame = RecordInbound { message_id: None, ..event(1) };
    assert_eq!(ask(same_frame), Recorded::Duplicate { id: first, state: InboundState::Received });
    let same_message = RecordInbound { buffer_id: None, digest: [9; 32], ..event(1) };
    assert_eq!(ask(same_message), Recorded::Duplicate { id: first, state: InboundState::Received });
    assert_eq!(writer.view().written, 1);

    // The connector may reuse an id of a frame, and two platforms or links the same id of a message.
    let other_content = RecordInbound { digest: [9; 32], message_id: None, ..event(1) };
    assert!(matches!(ask(other_content), Recorded::New(_)));
    let mut other_link = event(1);
    other_link.target.link = LinkId("work".into());
    assert!(matches!(ask(other_link), Recorded::New(_)));
    let mut other_chat = RecordInbound { buffer_id: None, ..event(1) };
    other_chat.target.chat_id = "other".to_owned();
    assert!(matches!(ask(other_chat), Recorded::New(_)));
}

#[test]
fn without_any_name_nothing_is_a_duplicate() {
    let home = Home::new();
    let writer = home.open();
    let nameless = RecordInbound { buffer_id: None, message_id: None, ..event(1) };
    for _ in 0..2 {
        assert!(matches!(wait(writer.ask(nameless.clone())).unwrap(), Recorded::New(_)));
    }
}

#[test]
fn a_duplicate_is_still_one_after_reopening() {
    let home = Home::new();
    let writer = home.open();
    let first = record(&writer, 1);
    wait(writer.ask(mark(first, InboundState::Done))).unwrap();
    close(&writer);
    assert_eq!(wait(home.open().ask(event(1))).unwrap(), Recorded::Duplicate { id: first, state: InboundState::Done });
}

#[test]
fn each_running_counts_an_attempt_and_a_mark_without_a_turn_keeps_it() {
    let home = Home::new();
    let writer = home.open();
    let (id, turn) = (record(&writer, 1), fresh_turn_id());
    for state in [InboundState::Running, InboundState::Interrupted, InboundState::Running] {
        wait(writer.ask(MarkInbound { turn: Some(turn), ..mark(id, state) })).unwrap();
    }
    wait(writer.ask(mark(id, InboundState::Failed))).unwrap();
    let rows = wait(writer.ask(ListInbound { states: vec![InboundState::Failed], after: None, limit: 1 })).unwrap();
    assert_eq!((rows[0].attempts, rows[0].turn), (2, Some(turn)));

    let sent = wait(writer.ask(reply(None, OutboundState::Pending))).unwrap();
    for state in [OutboundState::Sending, OutboundState::Ambiguous, OutboundState::Sending] {
        wait(writer.ask(MarkOutbound { id: sent, state, message_id: None, error: None })).unwrap();
    }
    let states = vec![OutboundState::Sending];
    assert_eq!(wait(writer.ask(ListOutbound { states, after: None, limit: 1 })).unwrap()[0].attempts, 2);
    let view = writer.view();
    assert_eq!(view.inbound, [(InboundState::Failed, 1)].into());
    assert_eq!(view.outbound, [(OutboundState::Sending, 1)].into());
}

#[test]
fn a_list_continues_after_the_last_row_of_the_previous_page() {
    let home = Home::new();
    let writer = home.open();
    for number in 0..5 {
        record(&writer, number);
    }
    wait(writer.ask(mark(InboundId(2), InboundState::Held))).unwrap();
    let page = |after| {
        let states = vec![InboundState::Held, InboundState::Received];
        let rows = wait(writer.ask(ListInbound { states, after, limit: 2 })).unwrap();
        rows.iter().map(|row| row.id.0).collect::<Vec<_>>()
    };
    assert_eq!(page(None), [1, 2]);
    assert_eq!(page(Some(InboundId(2))), [3, 4]);
    assert_eq!(page(Some(InboundId(4))), [5]);
}

#[test]
fn marking_a_missing_row_is_an_error() {
    let home = Home::new();
    let writer = home.open();
    assert_eq!(
        wait(writer.ask(mark(InboundId(7), InboundState::Done))),
        Err(LedgerError::Missing { table: "inbound", row: 7 })
    );
    let gone = MarkOutbound { id: OutboundId(7), state: OutboundState::Dead, message_id: None, error: None };
    assert_eq!(wait(writer.ask(gone)), Err(LedgerError::Missing { table: "outbound", row: 7 }));
}

#[test]
fn a_session_keeps_its_last_entries_and_those_of_others_stay() {
    let home = Home::new();
    let writer = home.open();
    let entry = |content: &str| HistoryEntry { role: "user".to_owned(), content: content.to_owned() };
    let append = |chat: &str, contents: &[&str], keep| {
        let entries = contents.iter().map(|content| entry(content)).collect();
        wait(writer.ask(AppendHistory { session: session(chat), entries, keep })).unwrap();
    };
    let load = |writer: &LedgerWriter, chat: &str, limit| {
        let entries = wait(writer.ask(LoadHistory { session: session(chat), limit })).unwrap();
        entries.into_iter().map(|entry| entry.content).collect::<Vec<_>>()
    };
    append("other", &["x"], 3);
    append("chat", &["a", "b"], 3);
    append("chat", &["c", "d"], 3);
    assert_eq!(load(&writer, "chat", 10), ["b", "c", "d"]);
    assert_eq!(load(&writer, "chat", 2), ["c", "d"]);
    append("chat", &["e", "f", "g"], 2);
    close(&writer);
    let writer = home.open();
    assert_eq!(load(&writer, "chat", 10), ["f", "g"]);
    assert_eq!(load(&writer, "other", 10), ["x"]);
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
    home.peek().execute("UPDATE inbound SET changed_at_ms = 0 WHERE id <> 2", []).unwrap();
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
fn a_list_and_the_counts_at_open_read_the_index_and_not_the_table() {
    let home = Home::new();
    close(&home.open());
    let peek = home.peek();
    let plan =
        |sql: &str| peek.query_row(&format!("EXPLAIN QUERY PLAN {sql}"), [], |row| row.get::<_, String>(3)).unwrap();
    for table in ["inbound", "outbound"] {
        let list = plan(&format!("SELECT * FROM {table} WHERE state = 1 AND id > 5 ORDER BY id"));
        assert_eq!(list, format!("SEARCH {table} USING INDEX {table}_state (state=? AND rowid>?)"));
        let count = plan(&format!("SELECT state, count(*) FROM {table} GROUP BY state"));
        assert_eq!(count, format!("SCAN {table} USING COVERING INDEX {table}_state"));
    }
}
