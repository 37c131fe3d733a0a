//! Everything recorded is read back.

use super::*;
use crate::turn::id::fresh_turn_id;
use caduceus_contract::messages::batch::Batch;

pub(super) fn everything_recorded_is_there_after_reopening<H: TestHome>() {
    let (home, turn) = (H::new(), fresh_turn_id());
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
        share: DispatchShare::ALL,
        states: vec![InboundState::Received, InboundState::Running, InboundState::Running],
        after: None,
        limit: 10,
    }))
    .unwrap();
    let columns: Vec<_> = rows.iter().map(|row| (row.id, row.state, row.attempts, row.turn)).collect();
    assert_eq!(columns, [(first, InboundState::Running, 1, Some(turn)), (second, InboundState::Received, 0, None)]);
    let source = event(1);
    assert_eq!((&rows[0].target, rows[0].event.as_str()), (&source.target, source.event.get()));
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

pub(super) fn the_same_frame_or_the_same_message_is_a_duplicate_of_the_first<H: TestHome>() {
    let home = H::new();
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
    Arc::make_mut(&mut other_link.target).link = LinkId("work".into());
    assert!(matches!(ask(other_link), Recorded::New(_)));
    let mut other_chat = RecordInbound { buffer_id: None, ..event(1) };
    Arc::make_mut(&mut other_chat.target).chat_id = "other".to_owned();
    assert!(matches!(ask(other_chat), Recorded::New(_)));
}

pub(super) fn without_any_name_nothing_is_a_duplicate<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    let nameless = RecordInbound { buffer_id: None, message_id: None, ..event(1) };
    for _ in 0..2 {
        assert!(matches!(wait(writer.ask(nameless.clone())).unwrap(), Recorded::New(_)));
    }
}

pub(super) fn a_duplicate_is_still_one_after_reopening<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    let first = record(&writer, 1);
    wait(writer.ask(mark(first, InboundState::Done))).unwrap();
    close(&writer);
    assert_eq!(wait(home.open().ask(event(1))).unwrap(), Recorded::Duplicate { id: first, state: InboundState::Done });
}

pub(super) fn two_repeats_in_one_group_are_one_event<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    let release = hold(&writer);
    let answers = [writer.ask(event(1)), writer.ask(event(1))];
    drop(release);
    let [first, second] = answers.map(|answer| wait(answer).unwrap());
    assert_eq!(first, Recorded::New(InboundId(1)));
    assert_eq!(second, Recorded::Duplicate { id: InboundId(1), state: InboundState::Received });
}

pub(super) fn an_event_of_a_failed_transaction_is_new<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    let release = hold(&writer);
    let (lost, refused) = (writer.ask(event(1)), writer.ask(RefusedByDisk));
    drop(release);
    assert!(wait(lost).is_err() && wait(refused).is_err());
    record(&writer, 1);
}

pub(super) fn each_running_counts_an_attempt_and_a_mark_without_a_turn_keeps_it<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    let (id, turn) = (record(&writer, 1), fresh_turn_id());
    for state in [InboundState::Running, InboundState::Interrupted, InboundState::Running] {
        wait(writer.ask(MarkInbound { turn: Some(turn), ..mark(id, state) })).unwrap();
    }
    wait(writer.ask(mark(id, InboundState::Failed))).unwrap();
    let rows = wait(writer.ask(ListInbound {
        share: DispatchShare::ALL,
        states: vec![InboundState::Failed],
        after: None,
        limit: 1,
    }))
    .unwrap();
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

pub(super) fn a_list_continues_after_the_last_row_of_the_previous_page<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    for number in 0..5 {
        record(&writer, number);
    }
    wait(writer.ask(mark(InboundId(2), InboundState::Held))).unwrap();
    let page = |after| {
        let states = vec![InboundState::Held, InboundState::Received];
        let rows = wait(writer.ask(ListInbound { share: DispatchShare::ALL, states, after, limit: 2 })).unwrap();
        rows.iter().map(|row| row.id.0).collect::<Vec<_>>()
    };
    assert_eq!(page(None), [1, 2]);
    assert_eq!(page(Some(InboundId(2))), [3, 4]);
    assert_eq!(page(Some(InboundId(4))), [5]);
}

pub(super) fn marking_a_missing_row_is_an_error<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    assert_eq!(
        wait(writer.ask(mark(InboundId(7), InboundState::Done))),
        Err(LedgerError::Missing { table: "inbound", row: 7 })
    );
    let gone = MarkOutbound { id: OutboundId(7), state: OutboundState::Dead, message_id: None, error: None };
    assert_eq!(wait(writer.ask(gone)), Err(LedgerError::Missing { table: "outbound", row: 7 }));
}

pub(super) fn lists_and_counts_are_the_same_after_reopening<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    let states = [
        InboundState::Received,
        InboundState::Running,
        InboundState::Held,
        InboundState::Interrupted,
        InboundState::Done,
        InboundState::Failed,
        InboundState::Refused,
        InboundState::Dead,
    ];
    for (number, state) in states.into_iter().cycle().take(24).enumerate() {
        let id = record(&writer, number as u64);
        wait(writer.ask(mark(id, state))).unwrap();
    }
    let replies = [OutboundState::Pending, OutboundState::Sending, OutboundState::Delivered, OutboundState::Dead];
    for state in replies {
        let id = wait(writer.ask(reply(None, OutboundState::Pending))).unwrap();
        wait(writer.ask(MarkOutbound { id, state, message_id: None, error: None })).unwrap();
    }
    let shown = |writer: &LedgerWriter<H::Store>| {
        let view = writer.view();
        let inbound = states.map(|state| {
            let rows = wait(writer.ask(ListInbound {
                share: DispatchShare::ALL,
                states: vec![state],
                after: Some(InboundId(8)),
                limit: 9,
            }))
            .unwrap();
            rows.iter().map(|row| row.id.0).collect::<Vec<_>>()
        });
        let outbound = replies.map(|state| {
            let rows = wait(writer.ask(ListOutbound { states: vec![state], after: None, limit: 9 })).unwrap();
            rows.iter().map(|row| row.id.0).collect::<Vec<_>>()
        });
        (view.inbound, view.outbound, inbound, outbound)
    };
    let before = shown(&writer);
    assert_eq!(before.0, states.map(|state| (state, 3)).into());
    assert_eq!(before.2[3..5], [vec![12, 20], vec![13, 21]]);
    assert_eq!(before.3, [[1], [2], [3], [4]]);
    close(&writer);
    assert_eq!(shown(&home.open()), before);
}

pub(super) fn a_mark_of_a_failed_transaction_leaves_the_row_in_its_lists<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    let id = record(&writer, 1);
    let begin = MarkInbound { turn: Some(fresh_turn_id()), ..mark(id, InboundState::Running) };
    let release = hold(&writer);
    let (asked, refused) = (writer.ask(begin.clone()), writer.ask(RefusedByDisk));
    drop(release);
    assert!(wait(asked).is_err() && wait(refused).is_err());
    assert_eq!(received(&writer).len(), 1);
    assert_eq!(writer.view().inbound, [(InboundState::Received, 1)].into());
    // The mark is forgotten as well: repeated, it is not taken for one that is written.
    wait(writer.ask(begin)).unwrap();
    let states = vec![InboundState::Running];
    let rows = wait(writer.ask(ListInbound { share: DispatchShare::ALL, states, after: None, limit: 9 })).unwrap();
    assert_eq!(rows.iter().map(|row| (row.id, row.attempts)).collect::<Vec<_>>(), [(id, 1)]);
}

pub(super) fn each_operation_of_a_batch_has_its_own_answer<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    let recorded = wait(writer.ask(Batch(vec![event(1), event(2), event(1)]))).unwrap();
    let [Ok(Recorded::New(first)), Ok(Recorded::New(second)), Ok(Recorded::Duplicate { id, .. })] = recorded[..] else {
        panic!("{recorded:?}")
    };
    assert_eq!(id, first);
    let missing = InboundId(7);
    let marks = [first, missing, second].map(|id| mark(id, InboundState::Running));
    let marked = wait(writer.ask(Batch(marks.to_vec()))).unwrap();
    assert_eq!(marked, [Ok(()), Err(LedgerError::Missing { table: "inbound", row: 7 }), Ok(())]);
    assert_eq!(writer.view().inbound[&InboundState::Running], 2);
}

pub(super) fn an_event_recorded_with_its_turn_runs_from_then_on<H: TestHome>() {
    let home = H::new();
    let (turn, running) = (fresh_turn_id(), InboundState::Running);
    let writer = home.open();
    let recorded = wait(writer.ask(RecordInbound { state: running, turn: Some(turn), ..event(1) })).unwrap();
    let Recorded::New(id) = recorded else { panic!("{recorded:?}") };
    let again = wait(writer.ask(RecordInbound { state: running, turn: Some(fresh_turn_id()), ..event(1) })).unwrap();
    assert_eq!(again, Recorded::Duplicate { id, state: running });
    close(&writer);
    let rows =
        wait(home.open().ask(ListInbound { share: DispatchShare::ALL, states: vec![running], after: None, limit: 2 }))
            .unwrap();
    let columns: Vec<_> = rows.iter().map(|row| (row.id, row.attempts, row.turn)).collect();
    assert_eq!(columns, [(id, 1, Some(turn))]);
}

pub(super) fn turns_that_never_started_are_withdrawn_and_no_others<H: TestHome>() {
    let home = H::new();
    let turns = [1, 2, 3].map(|_| fresh_turn_id());
    let writer = home.open();
    for (number, turn) in (1..).zip(turns) {
        let event = RecordInbound { state: InboundState::Running, turn: Some(turn), ..event(number) };
        assert!(matches!(wait(writer.ask(event)), Ok(Recorded::New(_))));
    }
    // The first has ended, the third was never recorded.
    let done = MarkInbound { turn: Some(turns[0]), ..mark(InboundId(1), InboundState::Done) };
    wait(writer.ask(done)).unwrap();
    let withdrawn = WithdrawTurns { turns: vec![turns[0], turns[1], fresh_turn_id()] };
    for expected in [vec![(turns[1], InboundId(2))], vec![]] {
        assert_eq!(wait(writer.ask(withdrawn.clone())), Ok(expected));
    }
    let states = [(InboundState::Received, 1), (InboundState::Running, 1), (InboundState::Done, 1)];
    assert_eq!(writer.view().inbound, states.into());
    let waiting = received(&writer);
    assert_eq!((waiting[0].id, waiting[0].attempts), (InboundId(2), 0), "it was no attempt");
    close(&writer);
    assert_eq!(received(&home.open()).len(), 1);
}

pub(super) fn an_event_in_a_final_state_does_not_run_again<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    let begun = |number, state| {
        let id = record(&writer, number);
        wait(writer.ask(mark(id, state))).unwrap();
        (id.0, wait(writer.ask(mark(id, InboundState::Running))))
    };
    for (number, state) in
        (0..).zip([InboundState::Done, InboundState::Failed, InboundState::Refused, InboundState::Dead])
    {
        let (row, answer) = begun(number, state);
        assert_eq!(answer, Err(LedgerError::Final { row }), "{state:?}");
    }
    for (number, state) in (10..).zip([InboundState::Held, InboundState::Interrupted, InboundState::Received]) {
        assert_eq!(begun(number, state).1, Ok(()), "{state:?}");
    }
}

pub(super) fn a_repeated_record_of_a_reply_is_answered_with_the_row_of_the_first<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    let turn = Some(fresh_turn_id());
    let reply = |number| RecordOutbound { turn, number, ..reply(None, OutboundState::Sending) };
    let release = hold(&writer);
    let (lost, refused) = (writer.ask(reply(Some(0))), writer.ask(RefusedByDisk));
    drop(release);
    assert!(wait(lost).is_err() && wait(refused).is_err(), "it was never recorded");
    let rows = [Some(0), Some(0), Some(1), None, None].map(|number| wait(writer.ask(reply(number))).unwrap().0);
    assert_eq!(rows[0], rows[1]);
    assert!(rows[1..].is_sorted_by(|one, next| one < next), "{rows:?}");
    assert_eq!(writer.view().outbound, [(OutboundState::Sending, 4)].into());
    let other_turn = RecordOutbound { turn: Some(fresh_turn_id()), ..reply(Some(0)) };
    assert!(wait(writer.ask(other_turn)).unwrap().0 > rows[4], "the number is that within a turn");
}

pub(super) fn a_reply_that_waits_again_was_no_attempt<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    let id = wait(writer.ask(reply(None, OutboundState::Sending))).unwrap();
    let waits = MarkOutbound { id, state: OutboundState::Pending, message_id: None, error: None };
    wait(writer.ask(waits)).unwrap();
    let pending = ListOutbound { states: vec![OutboundState::Pending], after: None, limit: 9 };
    let rows = wait(writer.ask(pending)).unwrap();
    assert_eq!(rows.iter().map(|row| (row.id, row.attempts)).collect::<Vec<_>>(), [(id, 0)]);
}
