//! Erasures and exports of one person beside what changes meanwhile, and of what only partly says whose it is.

use super::people::{ann, contents, dead_letter, erase, event_of, export, export_of, own_session, record_reply};
use super::transactions::commit;
use super::*;
use crate::ledger::repeats::LastReplies;

/// Events of others, more than a step of an erasure looks at.
fn fill_a_step<S: Store>(store: &mut S) {
    let mut replies = LastReplies::default();
    let mut ledger = LedgerTransaction::new(store.begin(1).unwrap(), &mut replies);
    for number in 10_000..12_100 {
        event_of("bob", number, InboundState::Done).run(&mut ledger).unwrap();
    }
    ledger.commit().unwrap();
}

/// An event of ann by the name of its session alone, so that its replies are ann's by this event alone.
fn event_named_after_ann<S: Store>(store: &mut S, number: u64, state: InboundState) -> i64 {
    let text = RawJson::of(&json!({"text": "canary"}));
    let named = RecordInbound { session: own_session("ann"), event: text, state, ..event(number) };
    let Recorded::New(InboundId(row)) = commit(store, 1, &named) else { panic!("it is new") };
    row
}

fn erase_from<S: Store>(store: &mut S, mut from: ErasurePlace) -> ErasedPart {
    let mut all = ErasedPart::default();
    loop {
        let part = commit(store, 5, &ErasePerson { person: ann(), profile: None, from });
        all.events += part.events;
        all.replies += part.replies;
        all.open += part.open;
        let Some(next) = part.next else { return all };
        from = next;
    }
}

fn has_canary<S: Store>(store: &mut S) -> bool {
    format!("{:?}", export(store, &ExportRows::default()).0).contains("canary")
}

pub(super) fn a_reply_that_is_recorded_while_an_erasure_runs_does_not_outlive_its_event<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    fill_a_step(&mut store);
    let event = event_named_after_ann(&mut store, 1, InboundState::Running);
    let first = commit(&mut store, 5, &ErasePerson { person: ann(), profile: None, from: ErasurePlace::BEGINNING });
    let next = first.next.unwrap();
    assert_eq!((next.at.part, first.events, first.open), (LedgerPart::Events, 0, 0), "its event comes later");
    // The turn ends now.
    record_reply(&mut store, Some("other-id"), Some(event), OutboundState::Delivered, "");
    commit(&mut store, 5, &mark(InboundId(event), InboundState::Done));
    let erased = erase_from(&mut store, next);
    assert_eq!((erased.events, erased.replies, erased.open), (1, 1, 0));
    assert!(!has_canary(&mut store));
}

pub(super) fn an_event_is_left_for_the_next_erasure_with_a_reply_that_was_not_done<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    fill_a_step(&mut store);
    let event = event_named_after_ann(&mut store, 1, InboundState::Done);
    let action = RawJson::of(&json!({"op": "send", "content": "canary"}));
    let waits = RecordOutbound { action, ..reply(Some(InboundId(event)), OutboundState::Sending) };
    let id = commit(&mut store, 1, &waits);
    let first = commit(&mut store, 5, &ErasePerson { person: ann(), profile: None, from: ErasurePlace::BEGINNING });
    assert_eq!(first.open, 1);
    // Without its event nothing would say any more that it is ann's.
    commit(&mut store, 5, &MarkOutbound { id, state: OutboundState::Delivered, message_id: None, error: None });
    let erased = erase_from(&mut store, first.next.unwrap());
    assert_eq!((erased.events, erased.replies, erased.open), (0, 0, 1));
    let again = erase_from(&mut store, ErasurePlace::BEGINNING);
    assert_eq!((again.events, again.replies, again.open), (1, 1, 0));
    assert!(!has_canary(&mut store));
}

pub(super) fn what_has_no_profile_is_of_the_person_in_each<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    // A notice of the gateway, and a reply whose event the retention has deleted.
    for event in [None, Some(77)] {
        record_reply(&mut store, Some("ann"), event, OutboundState::Delivered, "");
        record_reply(&mut store, Some("bob"), event, OutboundState::Delivered, "");
    }
    let work = Some(ProfileName::parse("work").unwrap());
    let of = |person| ExportRows { profile: work.clone(), person, ..ExportRows::default() };
    let texts = contents(&export(&mut store, &of(Some(ann()))).0);
    assert!(texts.len() == 2 && texts.iter().all(|text| text.contains("canary")), "{texts:?}");
    let all = RowState::ALL.map(|(state, _)| state);
    let list = ListRows { person: Some(ann()), profile: work.clone(), ..list_of(&all) };
    assert_eq!(super::listing::pages(&mut store, &list).len(), 2);
    // Of all people they are of no profile.
    assert_eq!(export(&mut store, &of(None)).0, []);
    let erase = ErasePerson { person: ann(), profile: work, from: ErasurePlace::BEGINNING };
    assert_eq!(commit(&mut store, 5, &erase).replies, 2);
    assert!(!has_canary(&mut store));
}

pub(super) fn a_frame_that_only_mentions_a_person_is_erased_and_not_exported<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    dead_letter(&mut store, 1, r#"{"source":{"user_id":"bob"},"mentions":["ann"],"text":["canary"]}"#);
    assert!(!export_of(&mut store, &ann()).contains("canary"));
    assert!(export_of(&mut store, &Person { user: "bob".to_owned(), platform: None }).contains("canary"));
    assert_eq!(erase(&mut store, &ann()).events, 1);
    assert!(!has_canary(&mut store));
}

pub(super) fn a_repeated_result_brings_no_words_of_a_connector_back_after_an_erasure<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    record_reply(&mut store, Some("ann"), None, OutboundState::Refused, "the canary is refused");
    erase(&mut store, &ann());
    let (state, error) = (OutboundState::Refused, Some("the canary is refused".to_owned()));
    commit(&mut store, 5, &MarkOutbound { id: OutboundId(1), state, message_id: None, error });
    assert!(!has_canary(&mut store));
}
