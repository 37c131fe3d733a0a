//! The end of a turn, written in one operation.

use super::*;
use crate::turn::id::fresh_turn_id;

fn conversation<S: Store>(writer: &LedgerWriter<S>) -> usize {
    wait(writer.ask(LoadHistory { session: session("chat"), limit: 10 })).unwrap().len()
}

pub(super) fn the_end_of_a_turn_is_written_with_all_its_parts<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    let event = record(&writer, 1);
    let sent = wait(writer.ask(reply(Some(event), OutboundState::Sending))).unwrap();
    assert_eq!(wait(writer.ask(settle(event, sent))), Ok(()));
    let view = writer.view();
    assert_eq!((view.inbound[&InboundState::Done], view.outbound[&OutboundState::Delivered]), (1, 1));
    assert_eq!(conversation(&writer), 1);
}

pub(super) fn a_reply_whose_row_is_missing_does_not_keep_the_event_running<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    let event = record(&writer, 1);
    let missing = LedgerError::Missing { table: "outbound", row: 7 };
    assert_eq!(wait(writer.ask(settle(event, OutboundId(7)))), Err(missing), "the failure is reported");
    assert_eq!(writer.view().inbound[&InboundState::Done], 1);
    assert_eq!(conversation(&writer), 1);
}

pub(super) fn an_end_of_a_turn_that_is_handed_over_twice_adds_to_the_conversation_once<H: TestHome>() {
    let home = H::new();
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
    let running = ListInbound { share: DispatchShare::ALL, states: vec![InboundState::Running], after: None, limit: 1 };
    assert_eq!(wait(writer.ask(running)).unwrap()[0].attempts, 1, "one attempt");
    for _ in 0..2 {
        assert_eq!(wait(writer.ask(end.clone())), Ok(()));
    }
    assert_eq!(conversation(&writer), 1);
    assert_eq!(writer.view().inbound, [(InboundState::Done, 1)].into());
}
