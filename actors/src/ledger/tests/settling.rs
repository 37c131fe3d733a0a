//! The end of a turn, written in one operation.

use super::*;
use crate::turn::id::fresh_turn_id;

/// The end of the turn of `event`, with the result of `reply` and one entry of the conversation.
fn settle(event: InboundId, reply: OutboundId) -> SettleTurn {
    let entries = vec![HistoryEntry { role: "user".to_owned(), content: "hello".to_owned() }];
    SettleTurn {
        event: Some(mark(event, InboundState::Done)),
        replies: vec![MarkOutbound { id: reply, state: OutboundState::Delivered, message_id: None, error: None }],
        history: Some(AppendHistory { session: session("chat"), entries, keep: 10 }),
    }
}

fn conversation(writer: &LedgerWriter) -> usize {
    wait(writer.ask(LoadHistory { session: session("chat"), limit: 10 })).unwrap().len()
}

#[test]
fn the_end_of_a_turn_is_one_commit_with_all_its_parts() {
    let home = Home::new();
    let writer = home.open();
    let event = record(&writer, 1);
    let sent = wait(writer.ask(reply(Some(event), OutboundState::Sending))).unwrap();
    let before = commits_in_log(&home.path);
    assert_eq!(wait(writer.ask(settle(event, sent))), Ok(()));
    assert_eq!(commits_in_log(&home.path), before + 1);
    let view = writer.view();
    assert_eq!((view.inbound[&InboundState::Done], view.outbound[&OutboundState::Delivered]), (1, 1));
    assert_eq!(conversation(&writer), 1);
}

#[test]
fn a_reply_whose_row_is_missing_does_not_keep_the_event_running() {
    let home = Home::new();
    let writer = home.open();
    let event = record(&writer, 1);
    let missing = LedgerError::Missing { table: "outbound", row: 7 };
    assert_eq!(wait(writer.ask(settle(event, OutboundId(7)))), Err(missing), "the failure is reported");
    assert_eq!(writer.view().inbound[&InboundState::Done], 1);
    assert_eq!(conversation(&writer), 1);
}

#[test]
fn an_end_of_a_turn_that_is_handed_over_twice_adds_to_the_conversation_once() {
    let home = Home::new();
    let writer = home.open();
    let event = record(&writer, 1);
    let turn = Some(fresh_turn_id());
    let begin = MarkInbound { turn, ..mark(event, InboundState::Running) };
    let sent = wait(writer.ask(reply(Some(event), OutboundState::Sending))).unwrap();
    let end = settle(event, sent);
    let end = SettleTurn { event: end.event.map(|event| MarkInbound { turn, ..event }), ..end };
    for _ in 0..2 {
        assert_eq!(wait(writer.ask(begin.clone())), Ok(()));
    }
    let running = ListInbound { states: vec![InboundState::Running], after: None, limit: 1 };
    assert_eq!(wait(writer.ask(running)).unwrap()[0].attempts, 1, "one attempt");
    for _ in 0..2 {
        assert_eq!(wait(writer.ask(end.clone())), Ok(()));
    }
    assert_eq!(conversation(&writer), 1);
    assert_eq!(writer.view().inbound, [(InboundState::Done, 1)].into());
}
