//! Waiting events, read in pages without content; one event for its turn; and chats notified of messages that a drain refused.

use super::*;
use crate::turn::id::fresh_turn_id;

pub(super) fn waiting_events_are_read_in_pages_in_order_of_arrival<H: TestHome>() {
    let home = H::new();
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

/// Events of four chats in turn.
fn record_chats<S: Store>(writer: &LedgerWriter<S>, state: InboundState, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let event = RecordInbound { session: session(&format!("chat-{}", number % 4)), state, ..event(number) };
        assert!(matches!(wait(writer.ask(event)), Ok(Recorded::New(_))));
    }
}

pub(super) fn each_dispatcher_lists_the_events_of_its_chats_and_together_they_list_each_once<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    record_chats(&writer, InboundState::Received, 1..=12);
    record_chats(&writer, InboundState::Running, 13..=20);
    // The second time the ledger remembers whose they are.
    for round in 1..=2 {
        let (mut waiting, mut running) = (Vec::new(), Vec::new());
        for share in DispatchShare::each(3) {
            let page = waiting_page(&writer, share, None, 100);
            assert!(page.next_after.is_none() && page.rows.iter().all(|row| share.contains(&row.session)));
            waiting.extend(page.rows.iter().map(|row| row.id.0));
            let list = ListInbound { share, states: vec![InboundState::Running], after: None, limit: 100 };
            let rows = wait(writer.ask(list)).unwrap();
            assert!(rows.iter().all(|row| share.contains(&row.session)));
            running.extend(rows.iter().map(|row| row.id.0));
        }
        waiting.sort_unstable();
        running.sort_unstable();
        assert_eq!((waiting, running), ((1..=12).collect(), (13..=20).collect()), "round {round}");
    }
}

pub(super) fn a_page_ends_after_so_many_rows_also_if_they_are_all_of_another_dispatcher<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    for number in 1..=5 {
        record(&writer, number);
    }
    let other = DispatchShare::each(2).find(|share| !share.contains(&session("chat"))).unwrap();
    let page = |after| waiting_page(&writer, other, after, 3);
    assert_eq!(page(None), WaitingPage { rows: Vec::new(), next_after: Some(InboundId(3)) });
    assert_eq!(page(Some(InboundId(3))), WaitingPage { rows: Vec::new(), next_after: None });
}

pub(super) fn one_event_is_read_with_its_content_and_a_missing_one_is_an_error<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    record(&writer, 1);
    let row = wait(writer.ask(ReadInbound { id: InboundId(1) })).unwrap();
    assert_eq!((row.event.as_str(), row.target), ("{\"text\":\"number 1\"}", target()));
    let read = wait(writer.ask(ReadInbound { id: InboundId(7) }));
    assert_eq!(read, Err(LedgerError::Missing { table: "inbound", row: 7 }));
}

pub(super) fn each_chat_is_notified_once_how_many_of_its_messages_a_drain_refused_also_over_a_restart<H: TestHome>() {
    let home = H::new();
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

pub(super) fn a_dispatcher_notifies_its_own_chats_only<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    let chats = ["a", "b", "c", "d", "e"];
    for (number, chat) in (1..).zip(chats) {
        wait(writer.ask(refused(number, chat))).unwrap();
    }
    for share in DispatchShare::each(2) {
        let before = notices(&writer);
        let own: Vec<_> = chats.into_iter().filter(|chat| share.contains_chat_of("slack", chat)).collect();
        assert!((1..chats.len()).contains(&own.len()), "each has some");
        assert_eq!((notify_share(&writer, share, 1), notify_share(&writer, share, 9)), (1, own.len() - 1));
        assert_eq!(notify_share(&writer, share, 9), 0);
        let expected = own.iter().map(|chat| format!("{{\"op\":\"{chat} 1\"}}"));
        let new: Vec<_> = notices(&writer).into_iter().filter(|notice| !before.contains(notice)).collect();
        assert_eq!(new, expected.collect::<Vec<_>>());
    }
    assert_eq!(wait(writer.ask(ListRefusals)).unwrap(), []);
}

pub(super) fn a_refused_event_that_is_marked_again_is_no_longer_unread<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    wait(writer.ask(refused(1, "a"))).unwrap();
    assert_eq!(wait(writer.ask(ListRefusals)).unwrap(), [ProfileName::default_profile()]);
    let noted = MarkInbound { note: Some("busy".into()), ..mark(InboundId(1), InboundState::Refused) };
    wait(writer.ask(noted)).unwrap();
    assert_eq!(wait(writer.ask(ListRefusals)).unwrap(), []);
    assert_eq!(notify(&writer, 10), 0);
}
