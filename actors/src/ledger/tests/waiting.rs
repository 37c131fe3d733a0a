//! Waiting events, read in pages without content; one event for its turn; and chats notified of messages that a drain refused.

use super::*;
use crate::turn::id::fresh_turn_id;

fn waiting(writer: &LedgerWriter, after: Option<InboundId>, limit: usize) -> Vec<WaitingRow> {
    let states = vec![InboundState::Received, InboundState::Held];
    wait(writer.ask(ListWaiting { states, after, limit })).unwrap()
}

#[test]
fn waiting_events_are_read_in_pages_in_order_of_arrival() {
    let home = Home::new();
    let writer = home.open();
    for number in 1..=6 {
        record(&writer, number);
    }
    wait(writer.ask(mark(InboundId(2), InboundState::Held))).unwrap();
    wait(writer.ask(mark(InboundId(3), InboundState::Done))).unwrap();
    let turn = fresh_turn_id();
    let steered = MarkInbound { turn: Some(turn), ..mark(InboundId(5), InboundState::Received) };
    wait(writer.ask(steered)).unwrap();
    let ids = |rows: Vec<WaitingRow>| rows.iter().map(|row| row.id.0).collect::<Vec<_>>();
    assert_eq!(ids(waiting(&writer, None, 2)), [1, 2]);
    assert_eq!(ids(waiting(&writer, Some(InboundId(2)), 2)), [4, 5]);
    assert_eq!(ids(waiting(&writer, Some(InboundId(5)), 2)), [6]);
    let rows = waiting(&writer, None, 10);
    assert_eq!((&rows[0].session, &rows[0].link, rows[0].turn), (&session("chat"), &target().link, None));
    assert_eq!(rows[3].turn, Some(turn));
}

#[test]
fn one_event_is_read_with_its_content_and_a_corrupt_or_missing_one_is_an_error() {
    let home = Home::new();
    let writer = home.open();
    for number in 1..=2 {
        record(&writer, number);
    }
    let row = wait(writer.ask(ReadInbound { id: InboundId(1) })).unwrap();
    assert_eq!((row.event.as_str(), row.target), ("{\"text\":\"number 1\"}", target()));
    let read = |id| wait(writer.ask(ReadInbound { id: InboundId(id) }));
    assert_eq!(read(7), Err(LedgerError::Missing { table: "inbound", row: 7 }));
    home.peek().execute("UPDATE inbound SET event = 'other' WHERE id = 2", ()).unwrap();
    assert_eq!(read(2), Err(LedgerError::Corrupt { table: "inbound", row: 2 }));
    assert_eq!(waiting(&writer, None, 10).len(), 1, "a corrupt event does not count as waiting");
}

fn refused(number: u64, chat: &str) -> RecordInbound {
    let note = Some(REFUSED_BY_DRAIN.to_owned());
    let user_id = Some(format!("user-{number}"));
    let target = Arc::new(Target { chat_id: chat.into(), user_id, ..Target::clone(&target()) });
    RecordInbound { state: InboundState::Refused, note, target, ..event(number) }
}

fn make_action(target: &Target, count: u64) -> String {
    format!("{{\"op\":\"{} {count}\"}}", target.chat_id)
}

fn notify(writer: &LedgerWriter, chats: usize) -> usize {
    let profile = ProfileName::default_profile();
    wait(writer.ask(RecordRefusalNotices { profile, chats, make_action })).unwrap().len()
}

fn notices(writer: &LedgerWriter) -> Vec<String> {
    let states = vec![OutboundState::Pending];
    let rows = wait(writer.ask(ListOutbound { states, after: None, limit: 100 })).unwrap();
    let mut actions: Vec<_> = rows.into_iter().map(|row| row.action).collect();
    actions.sort();
    actions
}

#[test]
fn each_chat_is_notified_once_how_many_of_its_messages_a_drain_refused_also_over_a_restart() {
    let home = Home::new();
    let writer = home.open();
    for (number, chat) in [(1, "a"), (2, "b"), (3, "a"), (4, "c"), (5, "a")] {
        wait(writer.ask(refused(number, chat))).unwrap();
    }
    // Refused for another reason: its chat was notified at once.
    wait(writer.ask(RecordInbound { note: Some("busy".into()), ..refused(6, "a") })).unwrap();
    // Refused by the gate after it was accepted.
    let id = record(&writer, 7);
    let note = Some(REFUSED_BY_DRAIN.to_owned());
    wait(writer.ask(MarkInbound { note, ..mark(id, InboundState::Refused) })).unwrap();
    assert_eq!(wait(writer.ask(ListRefusals)).unwrap(), [ProfileName::default_profile()]);
    assert_eq!(notify(&writer, 2), 2);
    close(&writer);

    let writer = home.open();
    assert_eq!(notify(&writer, 10), 2);
    assert_eq!(notify(&writer, 10), 0);
    assert_eq!(wait(writer.ask(ListRefusals)).unwrap(), []);
    let expected = ["a 3", "b 1", "c 1", "chat 1"].map(|op| format!("{{\"op\":\"{op}\"}}"));
    assert_eq!(notices(&writer), expected);
    assert_eq!(writer.view().inbound[&InboundState::Refused], 7, "their states are unchanged");
    // A later refusal is notified later, and separately.
    wait(writer.ask(refused(8, "a"))).unwrap();
    assert_eq!(notify(&writer, 10), 1);
    assert!(notices(&writer).contains(&"{\"op\":\"a 1\"}".to_owned()));
}

#[test]
fn a_refused_event_that_is_marked_again_or_deleted_is_no_longer_unread() {
    let home = Home::new();
    let writer = home.open();
    for number in 1..=2 {
        wait(writer.ask(refused(number, "a"))).unwrap();
    }
    record(&writer, 3);
    wait(writer.ask(mark(InboundId(1), InboundState::Done))).unwrap();
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
fn a_corrupt_row_is_skipped_and_delays_no_other() {
    let home = Home::new();
    let writer = home.open();
    for (number, chat) in [(1, "a"), (2, "a"), (3, "b")] {
        wait(writer.ask(refused(number, chat))).unwrap();
    }
    home.peek().execute("UPDATE inbound_marks SET attempts = 7 WHERE id IN (2, 3)", ()).unwrap();
    assert_eq!(notify(&writer, 10), 1);
    assert_eq!(notices(&writer), ["{\"op\":\"a 1\"}"]);
    assert_eq!(notify(&writer, 10), 0, "no row is left");
    assert_eq!(writer.view().corrupt, 2);
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
