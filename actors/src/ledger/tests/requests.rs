//! Requests that the tests of several rooms make.

use super::*;

/// The rows in some states, in pages of `limit`.
pub(in crate::ledger) fn listed<S: Store>(writer: &LedgerWriter<S>, list: &ListRows) -> Vec<RowSummary> {
    let (mut rows, mut after) = (Vec::new(), None);
    for _ in 0..1_000 {
        let page = wait(writer.ask(ListRows { after, ..list.clone() })).unwrap();
        assert!(page.rows.len() <= list.limit, "{page:?}");
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return rows;
        }
    }
    panic!("the list does not end")
}

/// The rows in some states.
pub(in crate::ledger) fn rows_in<S: Store>(writer: &LedgerWriter<S>, states: &[RowState]) -> Vec<String> {
    listed(writer, &list_of(states)).iter().map(|row| format!("{} {}", row.id, row.state.word())).collect()
}

pub(in crate::ledger) fn list_of(states: &[RowState]) -> ListRows {
    ListRows { states: states.to_vec(), profile: None, person: None, recorded_before_ms: None, after: None, limit: 100 }
}

const WINDOW: Duration = Duration::from_mins(2);

pub(in crate::ledger) fn entry(content: &str) -> HistoryEntry {
    HistoryEntry { role: "user".into(), content: content.to_owned() }
}

pub(in crate::ledger) fn append<S: Store>(writer: &LedgerWriter<S>, chat: &str, contents: &[&str], keep: usize) {
    let entries = contents.iter().map(|content| entry(content)).collect();
    wait(writer.ask(AppendHistory { session: session(chat), entries, keep })).unwrap();
}

pub(in crate::ledger) fn load<S: Store>(writer: &LedgerWriter<S>, chat: &str, limit: usize) -> Vec<String> {
    let entries = wait(writer.ask(LoadHistory { session: session(chat), limit })).unwrap();
    entries.into_iter().map(|entry| entry.content).collect()
}

pub(in crate::ledger) fn interrupted(number: u64, chat: &str) -> RecordInbound {
    let target = Arc::new(in_chat(chat));
    RecordInbound { state: InboundState::Interrupted, session: session(chat), target, ..event(number) }
}

pub(in crate::ledger) fn in_chat(chat: &str) -> Target {
    Target { chat_id: chat.to_owned(), ..Target::clone(&target()) }
}

pub(in crate::ledger) fn last<S: Store>(writer: &LedgerWriter<S>, chat: &str) -> Option<InboundId> {
    list_interrupted(writer, in_chat(chat), 1).pop()
}

/// The interrupted events of the chat of `target`.
pub(in crate::ledger) fn list_interrupted<S: Store>(
    writer: &LedgerWriter<S>,
    target: Target,
    limit: usize,
) -> Vec<InboundId> {
    let (chat, mut found, mut before) = (Arc::new(target), Vec::new(), None);
    loop {
        let list = ListInterrupted { chat: Arc::clone(&chat), before, limit: limit - found.len() };
        let page = wait(writer.ask(list)).unwrap();
        found.extend(page.rows.iter().map(|row| row.id));
        before = page.next_before;
        if before.is_none() || found.len() >= limit {
            return found;
        }
    }
}

/// The answer to a start at this time in milliseconds.
pub(in crate::ledger) fn restart<S: Store>(writer: &LedgerWriter<S>, at_ms: i64) -> usize {
    wait(writer.ask(NoteRestart { started_at_ms: 1_800_000_000_000 + at_ms, within: WINDOW })).unwrap()
}

pub(in crate::ledger) fn waiting<S: Store>(
    writer: &LedgerWriter<S>,
    after: Option<InboundId>,
    limit: usize,
) -> Vec<WaitingRow> {
    waiting_page(writer, DispatchShare::ALL, after, limit).rows
}

pub(in crate::ledger) fn waiting_page<S: Store>(
    writer: &LedgerWriter<S>,
    share: DispatchShare,
    after: Option<InboundId>,
    limit: usize,
) -> WaitingPage {
    let states = vec![InboundState::Received, InboundState::Held];
    wait(writer.ask(ListWaiting { share, states, after, limit })).unwrap()
}

pub(in crate::ledger) fn refused(number: u64, chat: &str) -> RecordInbound {
    let note = Some(REFUSED_BY_DRAIN.to_owned());
    let user_id = Some(format!("user-{number}"));
    let target = Arc::new(Target { chat_id: chat.into(), user_id, ..Target::clone(&target()) });
    RecordInbound { state: InboundState::Refused, note, target, ..event(number) }
}

fn make_action(target: &Target, count: u64) -> RawJson {
    RawJson::of(&json!({"op": format!("{} {count}", target.chat_id)}))
}

pub(in crate::ledger) fn notify<S: Store>(writer: &LedgerWriter<S>, chats: usize) -> usize {
    notify_share(writer, DispatchShare::ALL, chats)
}

pub(in crate::ledger) fn notify_share<S: Store>(writer: &LedgerWriter<S>, share: DispatchShare, chats: usize) -> usize {
    let profile = ProfileName::default_profile();
    wait(writer.ask(RecordRefusalNotices { share, profile, chats, make_action })).unwrap().len()
}

pub(in crate::ledger) fn notices<S: Store>(writer: &LedgerWriter<S>) -> Vec<String> {
    let states = vec![OutboundState::Pending];
    let rows = wait(writer.ask(ListOutbound { states, after: None, limit: 100 })).unwrap();
    let mut actions: Vec<_> = rows.into_iter().map(|row| row.action).collect();
    actions.sort();
    actions
}

/// The end of the turn of `event`, with the result of `reply` and one entry of the conversation.
pub(in crate::ledger) fn settle(event: InboundId, reply: OutboundId) -> SettleTurn {
    let entries = vec![HistoryEntry { role: "user".into(), content: "hello".to_owned() }];
    SettleTurn {
        event: Some(mark(event, InboundState::Done)),
        replies: vec![MarkOutbound { id: reply, state: OutboundState::Delivered, message_id: None, error: None }],
        history: Some(Arc::new(AppendHistory { session: session("chat"), entries, keep: 10 })),
    }
}
