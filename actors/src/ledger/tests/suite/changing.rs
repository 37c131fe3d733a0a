//! An operator has a row sent again, or drops it.

use super::transactions::{commit, events};
use super::*;
use caduceus_contract::wire::event::RELAY;

/// An event that an agent can read.
fn message(number: u64, state: InboundState) -> RecordInbound {
    let text = format!("number {number}");
    let event_text = RawJson::of(&json!({"text": text, "source": {"platform": "slack", "chat_id": "chat"}}));
    RecordInbound { event: event_text, state, ..event(number) }
}

/// A reply that a link can send.
fn sent_reply(inbound: Option<InboundId>, state: OutboundState) -> RecordOutbound {
    let action = RawJson::of(&json!({"op": "send", "chat_id": "chat", "content": "answer"}));
    RecordOutbound { action, ..reply(inbound, state) }
}

fn retry(id: &str, finished: FinishedRows) -> RecordRetry {
    RecordRetry { id: id.parse().unwrap(), finished, holder: LedgerHolder::Gateway, links: links() }
}

fn drop_of(id: &str) -> RecordDrop {
    let (holder, notice) = (LedgerHolder::Gateway, DropNotice::IfUnanswered);
    RecordDrop { id: id.parse().unwrap(), holder, process_started_ms: 0, notice }
}

fn reply_states<S: Store>(store: &mut S) -> Vec<String> {
    let all = RowState::ALL.map(|(state, _)| state);
    let rows = super::listing::pages(store, &list_of(&all));
    let replies = rows.iter().filter(|row| matches!(row.id, RowId::Reply(_)));
    replies.map(|row| format!("{} {}", row.id, row.state.word())).collect()
}

pub(super) fn an_event_that_ended_waits_again_and_one_that_waits_runs_or_is_done_does_not<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    let ended = [InboundState::Failed, InboundState::Interrupted, InboundState::Refused, InboundState::Dead];
    for (number, state) in (1..).zip(ended) {
        commit(&mut store, 0, &message(number, state));
        let retried = commit(&mut store, 1, &retry(&format!("in-{number}"), FinishedRows::Refuse)).unwrap();
        assert_eq!((retried.was, retried.state), (state.into(), RowState::Received));
    }
    let running = Some(uuid::Uuid::from_u128(5).into());
    commit(&mut store, 0, &RecordInbound { turn: running, ..message(5, InboundState::Running) });
    commit(&mut store, 0, &message(6, InboundState::Held));
    commit(&mut store, 0, &message(7, InboundState::Done));
    for (id, refusal) in [
        ("in-1", RowRefusal::Waits("in-1".parse().unwrap(), RowState::Received)),
        ("in-5", RowRefusal::Runs("in-5".parse().unwrap(), running)),
        ("in-6", RowRefusal::Waits("in-6".parse().unwrap(), RowState::Held)),
        ("in-7", RowRefusal::Done("in-7".parse().unwrap(), RowState::Done)),
    ] {
        assert_eq!(commit(&mut store, 1, &retry(id, FinishedRows::Refuse)), Err(refusal));
    }
    assert_eq!(commit(&mut store, 1, &retry("in-7", FinishedRows::Repeat)).unwrap().was, RowState::Done);
    // Without a gateway no turn runs.
    let stopped = RecordRetry { holder: LedgerHolder::Command, ..retry("in-5", FinishedRows::Refuse) };
    assert_eq!(commit(&mut store, 1, &stopped).unwrap().was, RowState::Running);
    drop(store);
    let writer = home.open();
    let waits: Vec<_> = received(&writer).iter().map(|row| (row.id.0, row.turn)).collect();
    assert_eq!(waits, [(1, None), (2, None), (3, None), (4, None), (5, None), (7, None)], "in order of arrival");
    assert!(matches!(
        wait(writer.ask(message(4, InboundState::Received))).unwrap(),
        Recorded::Duplicate { id: InboundId(4), state: InboundState::Received }
    ));
}

pub(super) fn what_is_no_event_or_was_erased_does_not_run<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    let letter = RawJson::of(&json!({"dead_letter": {"reason": "no text"}}));
    let relay = Arc::new(Target { platform: RELAY.to_owned(), ..Target::clone(&target()) });
    commit(&mut store, 0, &RecordInbound { event: letter, target: relay, ..message(1, InboundState::Dead) });
    let erased = RawJson::try_from(ERASED.to_owned()).unwrap();
    commit(&mut store, 0, &RecordInbound { event: erased, ..message(2, InboundState::Done) });
    let ids = ["in-1", "in-2"].map(|id| id.parse::<RowId>().unwrap());
    assert_eq!(commit(&mut store, 1, &retry("in-1", FinishedRows::Repeat)), Err(RowRefusal::Unreadable(ids[0])));
    assert_eq!(commit(&mut store, 1, &retry("in-2", FinishedRows::Repeat)), Err(RowRefusal::Erased(ids[1])));
    // A dead letter has no chat that could be notified.
    assert_eq!(commit(&mut store, 1, &drop_of("in-1")), Ok(RecordedDrop { was: RowState::Dead, notice: None }));
    assert_eq!(reply_states(&mut store), [""; 0]);
}

pub(super) fn a_reply_is_sent_again_once_as_a_new_row_with_a_mark_if_it_may_have_arrived<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    commit(&mut store, 0, &message(1, InboundState::Done));
    for state in [OutboundState::Pending, OutboundState::Sending, OutboundState::Pending, OutboundState::Sending] {
        commit(&mut store, 0, &sent_reply(Some(InboundId(1)), state));
    }
    for (id, state) in [(1, OutboundState::Dead), (2, OutboundState::Dead), (4, OutboundState::Delivered)] {
        commit(&mut store, 1, &MarkOutbound { id: OutboundId(id), state, message_id: None, error: None });
    }
    let row = |id: &str| id.parse::<RowId>().unwrap();
    let never_sent = commit(&mut store, 2, &retry("out-1", FinishedRows::Refuse)).unwrap();
    assert_eq!((never_sent.row, never_sent.state), (row("out-5"), RowState::Pending));
    let maybe_sent = commit(&mut store, 2, &retry("out-2", FinishedRows::Refuse)).unwrap();
    assert_eq!((maybe_sent.row, maybe_sent.state), (row("out-6"), RowState::Ambiguous));
    assert_eq!(
        commit(&mut store, 2, &retry("out-1", FinishedRows::Repeat)),
        Err(RowRefusal::SentAgain(row("out-1"), row("out-5")))
    );
    assert_eq!(
        commit(&mut store, 2, &retry("out-3", FinishedRows::Repeat)),
        Err(RowRefusal::Waits(row("out-3"), RowState::Pending))
    );
    assert_eq!(
        commit(&mut store, 2, &retry("out-4", FinishedRows::Refuse)),
        Err(RowRefusal::Done(row("out-4"), RowState::Delivered))
    );
    assert_eq!(commit(&mut store, 2, &retry("out-4", FinishedRows::Repeat)).unwrap().state, RowState::Ambiguous);
    let states = [
        "out-1 refused",
        "out-2 refused",
        "out-3 pending",
        "out-4 delivered",
        "out-5 pending",
        "out-6 ambiguous",
        "out-7 ambiguous",
    ];
    assert_eq!(reply_states(&mut store), states);
    let again = commit(&mut store, 2, &ListOutbound { states: vec![OutboundState::Ambiguous], after: None, limit: 9 });
    assert_eq!((again[0].inbound, again[0].recorded_at_ms, again[0].attempts), (Some(InboundId(1)), 2, 0));
    commit(&mut store, 3, &sent_reply(None, OutboundState::Pending));
    commit(
        &mut store,
        3,
        &MarkOutbound { id: OutboundId(8), state: OutboundState::Dead, message_id: None, error: None },
    );
    drop(store);
    let counts = home.open_store().row_counts().outbound();
    let expected = [
        (OutboundState::Pending, 2),
        (OutboundState::Delivered, 1),
        (OutboundState::Refused, 2),
        (OutboundState::Ambiguous, 2),
        (OutboundState::Dead, 1),
    ];
    assert_eq!(counts, expected.into());
}

pub(super) fn that_a_reply_was_sent_again_is_known_whatever_a_connector_says_of_it<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    let refused = |id, error: &str| MarkOutbound {
        id: OutboundId(id),
        state: OutboundState::Refused,
        message_id: None,
        error: Some(error.to_owned()),
    };
    let row = |id: &str| id.parse::<RowId>().unwrap();
    commit(&mut store, 0, &sent_reply(None, OutboundState::Sending));
    commit(&mut store, 1, &refused(1, "sent again as out-9"));
    let again = commit(&mut store, 2, &retry("out-1", FinishedRows::Refuse)).unwrap();
    assert_eq!(again.row, row("out-2"), "the words of a connector keep no reply from being sent again");
    // And none of its words, later ones neither, make one be sent again that was.
    commit(&mut store, 3, &refused(1, "no such chat"));
    drop(store);
    let mut store = home.open_store();
    assert_eq!(
        commit(&mut store, 4, &retry("out-1", FinishedRows::Repeat)),
        Err(RowRefusal::SentAgain(row("out-1"), row("out-2")))
    );
    let mut show = |id: &str| commit(&mut store, 4, &ShowRow { id: row(id), with_text: false });
    let detail = show("out-1");
    let first_words = Some("sent again as out-9");
    assert_eq!((detail.error.as_deref(), detail.sent_again_as), (first_words, Some(row("out-2"))), "it is final");
    assert_eq!(show("out-2").sent_again_as, None);
}

pub(super) fn what_is_dropped_is_refused_and_its_chat_is_notified_if_it_has_no_answer<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    let waiting = [InboundState::Received, InboundState::Held, InboundState::Interrupted];
    for (number, state) in (1..).zip(waiting.into_iter().chain([InboundState::Dead, InboundState::Done])) {
        commit(&mut store, 0, &message(number, state));
    }
    commit(&mut store, 0, &message(6, InboundState::Running));
    for (id, is_notified) in [("in-1", true), ("in-2", true), ("in-3", true), ("in-4", false)] {
        assert_eq!(commit(&mut store, 1, &drop_of(id)).unwrap().notice.is_some(), is_notified, "{id}");
    }
    let row = |id: &str| id.parse::<RowId>().unwrap();
    assert_eq!(commit(&mut store, 1, &drop_of("in-1")), Err(RowRefusal::Ended(row("in-1"), RowState::Refused)));
    assert_eq!(commit(&mut store, 1, &drop_of("in-5")), Err(RowRefusal::Ended(row("in-5"), RowState::Done)));
    assert_eq!(commit(&mut store, 1, &drop_of("in-6")), Err(RowRefusal::Runs(row("in-6"), None)));
    let stopped = RecordDrop { holder: LedgerHolder::Command, ..drop_of("in-6") };
    assert!(commit(&mut store, 1, &stopped).unwrap().notice.is_some());
    commit(&mut store, 0, &message(7, InboundState::Held));
    let silent = RecordDrop { notice: DropNotice::Never, ..drop_of("in-7") };
    assert_eq!(commit(&mut store, 1, &silent), Ok(RecordedDrop { was: RowState::Held, notice: None }));
    let notices = commit(&mut store, 2, &ListOutbound { states: vec![OutboundState::Pending], after: None, limit: 9 });
    assert_eq!(notices.len(), 4);
    assert!(notices.iter().all(|notice| notice.action.contains("not answered") && notice.target.chat_id == "chat"));
    assert!(events(&mut store, InboundState::Received).is_empty());
    // A connector that sends it again does not run it.
    let Recorded::Duplicate { state, .. } = commit(&mut store, 3, &message(1, InboundState::Received)) else {
        panic!("it is no duplicate")
    };
    assert_eq!(state, InboundState::Refused);
}

pub(super) fn a_reply_that_is_being_sent_or_whose_turn_runs_is_not_dropped<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    commit(&mut store, 0, &message(1, InboundState::Done));
    commit(&mut store, 0, &message(2, InboundState::Running));
    commit(&mut store, 1_000, &sent_reply(Some(InboundId(1)), OutboundState::Sending));
    commit(&mut store, 1_000, &sent_reply(Some(InboundId(2)), OutboundState::Pending));
    commit(&mut store, 1_000, &sent_reply(Some(InboundId(1)), OutboundState::Pending));
    commit(&mut store, 1_000, &sent_reply(Some(InboundId(99)), OutboundState::Pending));
    let row = |id: &str| id.parse::<RowId>().unwrap();
    let started_at = |process_started_ms| RecordDrop { process_started_ms, ..drop_of("out-1") };
    assert_eq!(commit(&mut store, 2_000, &started_at(1_000)), Err(RowRefusal::BeingSent(row("out-1"))));
    assert_eq!(commit(&mut store, 2_000, &started_at(1_001)).unwrap().was, RowState::Sending);
    assert_eq!(commit(&mut store, 2_000, &drop_of("out-2")), Err(RowRefusal::Runs(row("out-2"), None)));
    for id in ["out-3", "out-4"] {
        assert_eq!(commit(&mut store, 2_000, &drop_of(id)), Ok(RecordedDrop { was: RowState::Pending, notice: None }));
    }
    assert_eq!(commit(&mut store, 2_000, &drop_of("out-3")), Err(RowRefusal::Ended(row("out-3"), RowState::Refused)));
    assert_eq!(reply_states(&mut store), ["out-1 refused", "out-2 pending", "out-3 refused", "out-4 refused"]);
}
