//! What the ledger holds of people: its export, and the erasure of one person.

use super::transactions::{commit, events};
use super::*;
use crate::ledger::states::RowCounts;
use caduceus_contract::wire::event::RELAY;

pub(super) fn ann() -> Person {
    Person { user: "ann".to_owned(), platform: None }
}

/// The conversation of a person in a group chat.
pub(super) fn own_session(user: &str) -> SessionKey {
    let source = Source {
        platform: "slack".to_owned(),
        chat_type: "group".to_owned(),
        chat_id: "chat".to_owned(),
        user_id: Some(user.to_owned()),
        ..Default::default()
    };
    SessionKey::new(&source, &ProfileName::default_profile(), SessionRules::default())
}

fn target_of(user: &str) -> Arc<Target> {
    Arc::new(Target { user_id: Some(user.to_owned()), ..Target::clone(&target()) })
}

pub(in crate::ledger) fn event_of(user: &str, number: u64, state: InboundState) -> RecordInbound {
    let text = RawJson::of(&json!({"text": format!("{user} says {number}")}));
    RecordInbound { target: target_of(user), session: own_session(user), event: text, state, ..event(number) }
}

pub(in crate::ledger) fn reply_to(user: &str, event: i64, state: OutboundState) -> RecordOutbound {
    let action = RawJson::of(&json!({"op": "send", "content": format!("answer to {user}")}));
    RecordOutbound { target: target_of(user), action, ..reply(Some(InboundId(event)), state) }
}

pub(in crate::ledger) fn conversation_of(user: &str, content: &str) -> AppendHistory {
    AppendHistory { session: own_session(user), entries: vec![entry(content)], keep: 10 }
}

/// Two people, each with events, a reply and a conversation.
fn fill<S: Store>(store: &mut S) {
    for (first, user) in [(1, "ann"), (3, "bob")] {
        let number = u64::try_from(first).unwrap();
        commit(store, 1, &event_of(user, number, InboundState::Done));
        commit(store, 1, &event_of(user, number + 1, InboundState::Failed));
        commit(store, 1, &reply_to(user, first, OutboundState::Delivered));
        commit(store, 1, &conversation_of(user, &format!("{user} said")));
    }
}

/// All pages of an export.
pub(super) fn export<S: Store>(store: &mut S, request: &ExportRows) -> (Vec<ExportedRow>, Vec<String>) {
    let (mut rows, mut sessions, mut from) = (Vec::new(), Vec::new(), request.from);
    for _ in 0..100 {
        let page = commit(store, 0, &ExportRows { from, ..request.clone() });
        rows.extend(page.rows);
        sessions.extend(page.sessions);
        from = page.next;
        if from.is_none() {
            return (rows, sessions);
        }
    }
    panic!("the export does not end")
}

/// Erases a person in steps, until nothing but the log is left.
pub(in crate::ledger) fn erase<S: Store>(store: &mut S, person: &Person) -> ErasedPart {
    let mut all = ErasedPart::default();
    let mut from = ErasurePlace::BEGINNING;
    for _ in 0..1_000 {
        let part = commit(store, 5, &ErasePerson { person: person.clone(), profile: None, from });
        all.events += part.events;
        all.replies += part.replies;
        all.conversations += part.conversations;
        all.shared_conversations += part.shared_conversations;
        all.open += part.open;
        match part.next {
            Some(next) => from = next,
            None => return all,
        }
    }
    panic!("the erasure does not end")
}

pub(super) fn contents(rows: &[ExportedRow]) -> Vec<String> {
    let content = |row: &ExportedRow| match row {
        ExportedRow::Event(detail) | ExportedRow::Reply(detail) => {
            format!("{} {}", detail.row.id, detail.text.clone().unwrap_or_default())
        }
        ExportedRow::History(history) => format!("{:?}", history.entries),
    };
    rows.iter().map(content).collect()
}

pub(super) fn an_export_has_each_row_once_with_its_text<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    fill(&mut store);
    let (rows, _) = export(&mut store, &ExportRows::default());
    let texts = contents(&rows);
    assert_eq!(texts.len(), 8, "{texts:#?}");
    assert_eq!(texts[0], r#"in-1 {"text":"ann says 1"}"#);
    assert!(texts[5].contains("answer to bob") && texts[6].contains("ann said") && texts[7].contains("bob said"));
    let work = ExportRows { profile: Some(ProfileName::parse("work").unwrap()), ..ExportRows::default() };
    assert_eq!(export(&mut store, &work), (Vec::new(), Vec::new()));
}

pub(super) fn an_export_of_a_person_has_nothing_of_others<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    fill(&mut store);
    commit(&mut store, 1, &RecordInbound { session: session("shared"), ..event_of("ann", 9, InboundState::Done) });
    let shared = AppendHistory { session: session("shared"), entries: vec![entry("we all said")], keep: 10 };
    commit(&mut store, 1, &shared);
    let (rows, sessions) = export(&mut store, &ExportRows { person: Some(ann()), ..ExportRows::default() });
    let texts = contents(&rows);
    assert_eq!(texts.len(), 5, "{texts:#?}");
    assert!(texts.iter().all(|text| text.contains("ann")), "{texts:#?}");
    assert_eq!(sessions, [own_session("ann").stored(), session("shared").stored()]);
    // A conversation that is not named after the person is found by the sessions of the events.
    let of_session = ExportRows { session: Some(sessions[1].clone()), person: Some(ann()), ..ExportRows::default() };
    assert!(contents(&export(&mut store, &of_session).0)[0].contains("we all said"));
    let unknown = ExportRows { session: Some("no session".to_owned()), ..ExportRows::default() };
    assert_eq!(export(&mut store, &unknown).0, []);
    let elsewhere = Person { platform: Some("discord".to_owned()), ..ann() };
    assert_eq!(export(&mut store, &ExportRows { person: Some(elsewhere), ..ExportRows::default() }).0, []);
}

pub(super) fn a_person_is_erased_and_a_repeated_event_is_still_found<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    fill(&mut store);
    let unknown = Person { user: "eve".to_owned(), platform: None };
    assert_eq!(erase(&mut store, &unknown), ErasedPart::default());
    let erased = erase(&mut store, &ann());
    assert_eq!(erased, ErasedPart { events: 2, replies: 1, conversations: 1, ..ErasedPart::default() });
    assert_eq!(erase(&mut store, &ann()), ErasedPart::default(), "the second time nothing is left");

    let (rows, _) = export(&mut store, &ExportRows::default());
    let texts = contents(&rows);
    assert!(!format!("{rows:?}").contains("ann"), "{rows:#?}");
    assert_eq!(texts.iter().filter(|text| text.contains("bob")).count(), 4, "{texts:#?}");
    assert_eq!(texts.iter().filter(|text| text.contains(ERASED)).count(), 3, "{texts:#?}");
    drop(store);
    let mut store = home.open_store();
    assert_eq!((store.corrupt_rows(), store.damage().len()), (0, 0));
    let again = commit(&mut store, 9, &event_of("ann", 1, InboundState::Received));
    assert_eq!(again, Recorded::Duplicate { id: InboundId(1), state: InboundState::Done });
    let by_message = RecordInbound { buffer_id: None, ..event_of("ann", 2, InboundState::Received) };
    assert!(matches!(commit(&mut store, 9, &by_message), Recorded::Duplicate { id: InboundId(2), .. }));
    // The conversation begins anew.
    commit(&mut store, 9, &conversation_of("ann", "new"));
    let load = LoadHistory { session: own_session("ann"), limit: 9 };
    assert_eq!(commit(&mut store, 9, &load), [entry("new")]);
    assert_eq!(commit(&mut store, 9, &LoadHistory { session: own_session("bob"), limit: 9 }), [entry("bob said")]);
}

pub(super) fn what_is_open_is_not_erased_and_what_was_interrupted_does_not_run_again<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    let open = [InboundState::Received, InboundState::Held, InboundState::Running];
    for (number, state) in (1..).zip(open.into_iter().chain([InboundState::Interrupted])) {
        commit(&mut store, 1, &event_of("ann", number, state));
    }
    commit(&mut store, 1, &reply_to("ann", 1, OutboundState::Pending));
    let unread = RecordInbound { target: target_of("ann"), ..refused(9, "chat") };
    commit(&mut store, 1, &unread);
    let before = store.row_counts();
    let mut counts = RowCounts::default();
    let mut replies = crate::ledger::repeats::LastReplies::default();
    let (mut erased, mut left) = (0, 0);
    let mut from = ErasurePlace::BEGINNING;
    while from.at.part == LedgerPart::Events {
        let mut ledger = LedgerTransaction::new(store.begin(2).unwrap(), &mut replies);
        let part = ErasePerson { person: ann(), profile: None, from }.run(&mut ledger).unwrap();
        counts.add(&ledger.commit().unwrap().1);
        (erased, left) = (erased + part.events, left + part.open);
        from = part.next.unwrap();
    }
    assert_eq!((erased, left), (1, 5));
    assert_eq!(counts.inbound().get(&InboundState::Refused), Some(&1), "{before:?}");
    assert_eq!(erase(&mut store, &ann()), ErasedPart { open: 5, ..ErasedPart::default() });
    assert_eq!(events(&mut store, InboundState::Interrupted), []);
    for state in open {
        assert_eq!(events(&mut store, state).len(), 1, "{state:?}");
    }
    let retry = RecordRetry {
        id: "in-4".parse().unwrap(),
        finished: FinishedRows::Repeat,
        holder: LedgerHolder::Command,
        links: links(),
    };
    assert_eq!(commit(&mut store, 9, &retry), Err(RowRefusal::Erased("in-4".parse().unwrap())));
    drop(store);
    let counts = home.open_store().row_counts().inbound();
    assert_eq!(counts.get(&InboundState::Refused), Some(&2), "{counts:?}");
}

/// Everything of a kind that belongs to ann, recorded, with a word that must be gone after an erasure.
type Kind<S> = (&'static str, fn(&mut S));

pub(super) fn record_reply<S: Store>(
    store: &mut S,
    user: Option<&str>,
    inbound: Option<i64>,
    state: OutboundState,
    error: &str,
) {
    let target = Arc::new(Target { user_id: user.map(str::to_owned), ..Target::clone(&target()) });
    let content = if user == Some("bob") { "for bob" } else { "canary" };
    let action = RawJson::of(&json!({"op": "send", "content": content}));
    let state_at_first = OutboundState::Sending;
    let reply = RecordOutbound { target, action, ..reply(inbound.map(InboundId), state_at_first) };
    let id = commit(store, 1, &reply);
    let error = Some(error.to_owned()).filter(|error| !error.is_empty());
    let message_id = (state == OutboundState::Delivered).then(|| "message".to_owned());
    commit(store, 1, &MarkOutbound { id, state, message_id, error });
}

/// A frame that could not be used, as a link records it.
pub(super) fn dead_letter<S: Store>(store: &mut S, number: u64, frame: &str) {
    let letter = RawJson::of(&json!({"dead_letter": {"reason": "no event", "bytes": 9, "frame": frame}}));
    let platform =
        Target { platform: RELAY.to_owned(), chat_id: String::new(), user_id: None, ..Target::clone(&target()) };
    let row = RecordInbound { target: Arc::new(platform), event: letter, message_id: None, ..event(number) };
    commit(store, 1, &RecordInbound { session: session("relay"), state: InboundState::Dead, ..row });
}

fn kinds<S: Store>() -> [Kind<S>; 11] {
    [
        ("an event of the author", |store| {
            let text = RawJson::of(&json!({"text": "canary"}));
            commit(store, 1, &RecordInbound { event: text, ..event_of("ann", 71, InboundState::Failed) });
        }),
        ("an event in a session that is named after the person", |store| {
            let text = RawJson::of(&json!({"text": "canary"}));
            let named = RecordInbound { session: own_session("ann"), event: text, ..event(72) };
            commit(store, 1, &RecordInbound { state: InboundState::Done, ..named });
        }),
        ("a frame that could not be used", |store| {
            dead_letter(store, 75, r#"{"event":{"source":{"user_id":"ann"},"text":["canary"]}}"#);
        }),
        ("a frame that could not be used and is no JSON", |store| {
            dead_letter(store, 76, r#"{"event":{"source":{"user_id":"ann"},"text":"canary"#);
        }),
        ("a reply to the person", |store| record_reply(store, Some("ann"), None, OutboundState::Delivered, "")),
        ("a reply to an event in a session that is named after the person", |store| {
            let named = RecordInbound { session: own_session("ann"), ..event(73) };
            let recorded = commit(store, 1, &RecordInbound { state: InboundState::Done, ..named });
            let Recorded::New(InboundId(event)) = recorded else { panic!("{recorded:?}") };
            record_reply(store, Some("other-id"), Some(event), OutboundState::Delivered, "");
        }),
        ("the error of a refused reply", |store| {
            record_reply(store, Some("ann"), None, OutboundState::Refused, "the canary is refused");
        }),
        ("the error of a dead reply", |store| {
            record_reply(store, Some("ann"), None, OutboundState::Dead, "the canary is refused");
        }),
        ("the error of a delivered reply", |store| {
            record_reply(store, Some("ann"), None, OutboundState::Delivered, "the canary was late");
        }),
        ("a conversation that is named after the person", |store| {
            commit(store, 1, &conversation_of("ann", "canary"));
        }),
        ("a conversation with an event of the person", |store| {
            commit(store, 1, &RecordInbound { session: session("shared"), ..event_of("ann", 74, InboundState::Done) });
            let shared = AppendHistory { session: session("shared"), entries: vec![entry("canary")], keep: 10 };
            commit(store, 1, &shared);
        }),
    ]
}

/// What an export of a person has, with the conversations that are found by the sessions of its events.
pub(super) fn export_of<S: Store>(store: &mut S, person: &Person) -> String {
    let of_person = ExportRows { person: Some(person.clone()), ..ExportRows::default() };
    let (mut rows, sessions) = export(store, &of_person);
    for session in sessions {
        rows.extend(export(store, &ExportRows { session: Some(session), ..of_person.clone() }).0);
    }
    format!("{rows:?}")
}

pub(super) fn each_kind_of_what_belongs_to_a_person_is_exported_and_erased_with_nothing_of_others<H: TestHome>() {
    for (kind, record) in kinds::<H::Store>() {
        let home = H::new();
        let mut store = home.open_store();
        // The same of someone else, whose words stay.
        commit(&mut store, 1, &event_of("bob", 80, InboundState::Done));
        record_reply(&mut store, Some("bob"), None, OutboundState::Dead, "bob is refused");
        dead_letter(&mut store, 81, r#"{"event":{"source":{"user_id":"bob"},"text":["anna"]}"#);
        let others = export_of(&mut store, &Person { user: "bob".to_owned(), platform: None });
        record(&mut store);

        let exported = export_of(&mut store, &ann());
        assert!(exported.contains("canary") && !exported.contains("bob"), "{kind}: {exported}");
        let erased = erase(&mut store, &ann());
        assert_eq!(erased.open, 0, "{kind}");
        assert!(erased.events + erased.replies + erased.conversations > 0, "{kind}");
        let left = format!("{:?}", export(&mut store, &ExportRows::default()).0);
        assert!(!left.contains("canary"), "{kind}: {left}");
        assert!(!export_of(&mut store, &ann()).contains("canary"), "{kind}");
        assert_eq!(erase(&mut store, &ann()), ErasedPart::default(), "{kind}: the second time nothing is left");
        assert_eq!(export_of(&mut store, &Person { user: "bob".to_owned(), platform: None }), others, "{kind}");
        drop(store);
        assert_eq!(home.open_store().corrupt_rows(), 0, "{kind}");
    }
}

pub(super) fn a_list_of_a_person_has_the_rows_that_an_export_of_the_person_has<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    fill(&mut store);
    for (_, record) in kinds() {
        record(&mut store);
    }
    let (exported, _) = export(&mut store, &ExportRows { person: Some(ann()), ..ExportRows::default() });
    let id = |row: &ExportedRow| match row {
        ExportedRow::Event(detail) | ExportedRow::Reply(detail) => Some(detail.row.id),
        ExportedRow::History(_) => None,
    };
    let exported: Vec<_> = exported.iter().filter_map(id).collect();
    let all = RowState::ALL.map(|(state, _)| state);
    let list = ListRows { person: Some(ann()), ..list_of(&all) };
    let listed: Vec<_> = super::listing::pages(&mut store, &list).iter().map(|row| row.id).collect();
    assert_eq!(listed, exported);
    assert!(listed.len() > 10, "{listed:?}");
}
