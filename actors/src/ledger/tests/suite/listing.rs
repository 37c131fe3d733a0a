//! Rows as operators see them: lists in pages, and single rows.

use super::transactions::commit;
use super::*;

fn dead(number: u64, profile: &str) -> RecordInbound {
    let profile = ProfileName::parse(profile).unwrap();
    RecordInbound { state: InboundState::Dead, profile, note: Some("a reason".to_owned()), ..event(number) }
}

pub(super) fn rows_are_listed_by_state_profile_and_age<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    let states = [InboundState::Received, InboundState::Running, InboundState::Held, InboundState::Interrupted];
    for (number, state) in (1..).zip(states.into_iter().chain([InboundState::Done, InboundState::Refused])) {
        commit(&mut store, 1_000, &RecordInbound { state, ..event(number) });
    }
    commit(&mut store, 2_000, &dead(7, "work"));
    commit(&mut store, 2_000, &reply(Some(InboundId(7)), OutboundState::Pending));
    commit(&mut store, 2_000, &reply(Some(InboundId(1)), OutboundState::Delivered));
    // Not by the thread, whose retention deletes what ended in 1970.
    let open = ["in-1 received", "in-2 running", "in-3 held", "in-4 interrupted", "in-7 dead", "out-1 pending"];
    assert_eq!(in_states(&mut store, &RowState::OPEN_OR_DEAD), open);
    let ended = [RowState::Refused, RowState::Delivered];
    assert_eq!(in_states(&mut store, &ended), ["in-6 refused", "out-2 delivered"]);
    assert_eq!(in_states(&mut store, &[RowState::Corrupt]), [""; 0]);
    assert_eq!(in_states(&mut store, &[]), [""; 0]);

    let all = RowState::ALL.map(|(state, _)| state);
    let mut ids = |list: &ListRows| pages(&mut store, list).iter().map(|row| row.id.to_string()).collect::<Vec<_>>();
    let work = ListRows { profile: Some(ProfileName::parse("work").unwrap()), ..list_of(&all) };
    assert_eq!(ids(&work), ["in-7", "out-1"], "a reply has the profile of its event");
    let old = ListRows { recorded_before_ms: Some(2_000), ..list_of(&all) };
    assert_eq!(ids(&old), ["in-1", "in-2", "in-3", "in-4", "in-5", "in-6"]);
    let person = Person { user: "user".to_owned(), platform: Some("slack".to_owned()) };
    assert_eq!(ids(&ListRows { person: Some(person.clone()), ..list_of(&all) }).len(), 9);
    let elsewhere = Person { platform: Some("discord".to_owned()), ..person };
    assert_eq!(ids(&ListRows { person: Some(elsewhere), ..list_of(&all) }), [""; 0]);
    let row = pages(&mut store, &work).remove(0);
    assert_eq!((row.note.as_deref(), row.attempts, row.recorded_at_ms), (Some("a reason"), Some(0), Some(2_000)));
    assert_eq!((row.chat_id.as_deref(), row.link.as_deref()), (Some("chat"), Some("relay")));
}

/// All pages of a list.
pub(super) fn pages<S: Store>(store: &mut S, list: &ListRows) -> Vec<RowSummary> {
    let (mut rows, mut after) = (Vec::new(), list.after);
    for _ in 0..100 {
        let page = commit(store, 9_000, &ListRows { after, ..list.clone() });
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return rows;
        }
    }
    panic!("the list does not end")
}

fn in_states<S: Store>(store: &mut S, states: &[RowState]) -> Vec<String> {
    pages(store, &list_of(states)).iter().map(|row| format!("{} {}", row.id, row.state.word())).collect()
}

pub(super) fn a_list_in_pages_has_each_row_once<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    for number in 1..=5 {
        record(&writer, number);
        wait(writer.ask(reply(None, OutboundState::Pending))).unwrap();
    }
    let whole = listed(&writer, &list_of(&RowState::OPEN_OR_DEAD));
    assert_eq!(whole.len(), 10);
    for limit in 1..=11 {
        let list = ListRows { limit, ..list_of(&RowState::OPEN_OR_DEAD) };
        let ids = |rows: &[RowSummary]| rows.iter().map(|row| row.id).collect::<Vec<_>>();
        assert_eq!(ids(&listed(&writer, &list)), ids(&whole), "in pages of {limit}");
    }
    let beyond = ListRows { after: Some(RowId::Reply(OutboundId(i64::MAX))), ..list_of(&RowState::OPEN_OR_DEAD) };
    assert_eq!(wait(writer.ask(beyond)).unwrap(), RowsPage { rows: Vec::new(), next: None });
}

pub(super) fn a_page_looks_at_a_limited_number_of_rows<H: TestHome>() {
    let home = H::new();
    let writer = home.open();
    for numbers in (1..=6_000).collect::<Vec<u64>>().chunks(2_000) {
        let done = |number: &u64| RecordInbound { state: InboundState::Done, ..event(*number) };
        let answers: Vec<_> = numbers.iter().map(|number| writer.ask(done(number))).collect();
        for answer in answers {
            wait(answer).unwrap();
        }
    }
    wait(writer.ask(dead(6_001, "work"))).unwrap();
    let list = list_of(&[RowState::Dead]);
    let first = wait(writer.ask(list.clone())).unwrap();
    assert!(first.rows.is_empty() && first.next.is_some(), "{first:?}");
    let huge = ListRows { limit: usize::MAX, ..list };
    assert_eq!(listed(&writer, &huge).iter().map(|row| row.id.to_string()).collect::<Vec<_>>(), ["in-6001"]);
}

pub(super) fn a_row_is_shown_with_its_times_and_with_its_text_only_if_it_is_asked_for<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    commit(&mut store, 1_000, &event(1));
    let running =
        MarkInbound { turn: Some(uuid::Uuid::from_u128(5).into()), ..mark(InboundId(1), InboundState::Running) };
    commit(&mut store, 2_000, &running);
    let sent = commit(&mut store, 3_000, &reply(Some(InboundId(1)), OutboundState::Sending));
    let refused = MarkOutbound { id: sent, state: OutboundState::Refused, message_id: None, error: Some("no".into()) };
    commit(&mut store, 4_000, &refused);
    drop(store);
    let writer = home.open();
    let show = |id: &str, with_text| wait(writer.ask(ShowRow { id: id.parse().unwrap(), with_text }));

    let event = show("in-1", false).unwrap();
    assert_eq!((event.text.as_deref(), event.text_bytes), (None, Some(19)));
    assert_eq!((event.arrived_at_ms, event.row.recorded_at_ms), (Some(7), Some(1_000)));
    assert_eq!((event.begun_at_ms, event.changed_at_ms), (Some(2_000), Some(2_000)));
    assert_eq!((event.gateway.as_deref(), event.user_id.as_deref()), (Some("gw-1"), Some("user")));
    assert_eq!((event.message_id.as_deref(), event.row.state), (Some("message-1"), RowState::Running));
    let writer_of = event.recorded_by.clone().unwrap();
    assert!(writer_of.term > 0 && writer_of.host.is_some() && writer_of.started_at_ms.is_some(), "{writer_of:?}");
    assert_eq!(show("in-1", true).unwrap().text.as_deref(), Some(r#"{"text":"number 1"}"#));

    let reply = show("out-1", true).unwrap();
    assert_eq!((reply.answers, reply.error.as_deref()), (Some(RowId::Event(InboundId(1))), Some("no")));
    assert_eq!((reply.sent_at_ms, reply.changed_at_ms, reply.row.attempts), (Some(3_000), Some(4_000), Some(1)));
    assert_eq!((reply.row.profile.as_deref(), reply.text.as_deref()), (Some("default"), Some(r#"{"op":"send"}"#)));

    for missing in ["in-2", "out-2", "in-0", "in-9223372036854775807"] {
        assert!(matches!(show(missing, true), Err(LedgerError::Missing { .. })), "{missing}");
    }
}
