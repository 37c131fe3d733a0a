//! Transactions without the thread.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::ledger::repeats::LastReplies;
use crate::ledger::store::Wrote;

/// Does `work` in a transaction at this time, and commits it.
pub(in crate::ledger) fn commit<S: Store, W: Work>(store: &mut S, now_ms: i64, work: &W) -> W::Answer {
    let mut replies = LastReplies::default();
    let mut ledger = LedgerTransaction::new(store.begin(now_ms).unwrap(), &mut replies);
    let answer = work.run(&mut ledger).unwrap();
    ledger.commit().unwrap();
    answer
}

pub(super) fn events<S: Store>(store: &mut S, state: InboundState) -> Vec<InboundRow> {
    commit(store, 0, &ListInbound { share: DispatchShare::ALL, states: vec![state], after: None, limit: 100 })
}

fn replies<S: Store>(store: &mut S, state: OutboundState) -> Vec<OutboundRow> {
    commit(store, 0, &ListOutbound { states: vec![state], after: None, limit: 100 })
}

fn conversation<S: Store>(store: &mut S) -> Vec<HistoryEntry> {
    commit(store, 0, &LoadHistory { session: session("chat"), limit: 100 })
}

const START: NoteRestart = NoteRestart { started_at_ms: 1_800_000_000_000, within: Duration::from_mins(2) };

/// Makes a change of each kind.
fn change_everything<T: StoreTransaction>(ledger: &mut LedgerTransaction<'_, T>) {
    let entries = vec![entry("lost")];
    event(2).run(ledger).unwrap();
    refused(3, "a").run(ledger).unwrap();
    mark(InboundId(1), InboundState::Done).run(ledger).unwrap();
    reply(None, OutboundState::Pending).run(ledger).unwrap();
    let sent = MarkOutbound { id: OutboundId(1), state: OutboundState::Delivered, message_id: None, error: None };
    sent.run(ledger).unwrap();
    AppendHistory { session: session("chat"), entries, keep: 9 }.run(ledger).unwrap();
    START.run(ledger).unwrap();
}

/// A database with an event that runs, a reply that is sent, and a conversation.
fn prepare<H: TestHome>() -> (H, H::Store) {
    let home = H::new();
    let mut store = home.open_store();
    commit(&mut store, 0, &RecordInbound { state: InboundState::Running, ..event(1) });
    commit(&mut store, 0, &reply(None, OutboundState::Sending));
    commit(&mut store, 0, &AppendHistory { session: session("chat"), entries: vec![entry("kept")], keep: 9 });
    (home, store)
}

/// The database is as [`prepare`] left it.
fn assert_unchanged<S: Store>(store: &mut S) {
    let attempts = |rows: Vec<InboundRow>| rows.iter().map(|row| (row.id.0, row.attempts)).collect::<Vec<_>>();
    assert_eq!(attempts(events(store, InboundState::Running)), [(1, 1)]);
    for state in [InboundState::Received, InboundState::Refused, InboundState::Done] {
        assert_eq!(events(store, state), [], "{state:?}");
    }
    assert_eq!(replies(store, OutboundState::Sending).len(), 1);
    for state in [OutboundState::Pending, OutboundState::Delivered] {
        assert_eq!(replies(store, state), [], "{state:?}");
    }
    assert_eq!(conversation(store), [entry("kept")]);
    assert_eq!(commit(store, 0, &ListRefusals), []);
}

/// The keys, sessions and starts of a transaction that is undone are free again.
fn assert_usable<S: Store>(store: &mut S) {
    assert!(matches!(commit(store, 0, &event(2)), Recorded::New(_)));
    commit(store, 0, &AppendHistory { session: session("chat"), entries: vec![entry("new")], keep: 9 });
    assert_eq!(conversation(store), [entry("kept"), entry("new")]);
    assert_eq!(commit(store, 0, &NoteRestart { started_at_ms: START.started_at_ms + 1, ..START }), 1);
}

pub(super) fn a_transaction_that_is_dropped_leaves_nothing<H: TestHome>() {
    let (home, mut store) = prepare::<H>();
    let mut last_replies = LastReplies::default();
    let mut ledger = LedgerTransaction::new(store.begin(0).unwrap(), &mut last_replies);
    change_everything(&mut ledger);
    drop(ledger);
    assert_unchanged(&mut store);
    drop(store);
    let mut store = home.open_store();
    assert_unchanged(&mut store);
    assert_usable(&mut store);
}

pub(super) fn a_transaction_that_panics_leaves_nothing<H: TestHome>() {
    let (_home, mut store) = prepare::<H>();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut last_replies = LastReplies::default();
        let mut ledger = LedgerTransaction::new(store.begin(0).unwrap(), &mut last_replies);
        change_everything(&mut ledger);
        panic!("panic requested by the test");
    }));
    assert!(outcome.is_err());
    assert_unchanged(&mut store);
    assert_usable(&mut store);
}

pub(super) fn a_probe_and_the_checks_change_nothing<H: TestHome>() {
    let (_home, mut store) = prepare::<H>();
    store.probe().unwrap();
    while store.check_rows().unwrap() {}
    assert_eq!((store.check_files(), store.corrupt_rows()), (None, 0));
    assert_unchanged(&mut store);
    assert_usable(&mut store);
}

pub(super) fn a_commit_reports_whether_anything_was_written<H: TestHome>() {
    let (_home, mut store) = prepare::<H>();
    let mut last_replies = LastReplies::default();
    let mut ledger = LedgerTransaction::new(store.begin(0).unwrap(), &mut last_replies);
    event(1).run(&mut ledger).unwrap();
    let (wrote, delta) = ledger.commit().unwrap();
    assert_eq!((wrote, delta.written), (Wrote::Nothing, 0), "a duplicate is only read");
    let mut ledger = LedgerTransaction::new(store.begin(0).unwrap(), &mut last_replies);
    event(2).run(&mut ledger).unwrap();
    let (wrote, delta) = ledger.commit().unwrap();
    assert_eq!((wrote, delta.written), (Wrote::Something, 1));
    assert_eq!(delta.inbound(), [(InboundState::Received, 1)].into());
}
