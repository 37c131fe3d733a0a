//! Ended rows are deleted, and with them everything that is kept of them.

use super::transactions::{commit, events};
use super::*;
use crate::ledger::states::RowCounts;
use crate::ledger::store::Expiry;

/// Before and after the time from which rows are kept.
const OLD: i64 = 1_000;
const NEW: i64 = 3_000;

/// Deletes what is older than 2,000, or in excess, until nothing is left to delete.
fn sweep<S: Store>(store: &mut S, excess_inbound: i64, slice: i64) -> RowCounts {
    let expiry = Expiry { changed_before_ms: 2_000, excess_inbound, excess_outbound: 0, slice };
    let mut deleted = RowCounts::default();
    for _ in 0..100 {
        let swept = store.delete_expired(&expiry).unwrap();
        deleted.add(&swept.delta);
        if !swept.more {
            return deleted;
        }
    }
    panic!("the sweep does not end")
}

fn record_at<S: Store>(store: &mut S, now_ms: i64, number: u64, state: InboundState) -> InboundId {
    let Recorded::New(id) = commit(store, now_ms, &event(number)) else { panic!("event {number} is a duplicate") };
    if state != InboundState::Received {
        commit(store, now_ms, &mark(id, state));
    }
    id
}

pub(super) fn ended_rows_are_deleted_by_age_and_open_ones_never<H: TestHome>() {
    let open = [InboundState::Received, InboundState::Running, InboundState::Held];
    let ended = [InboundState::Interrupted, InboundState::Done, InboundState::Failed, InboundState::Dead];
    let home = H::new();
    let mut store = home.open_store();
    for (number, state) in (0..).zip(open.into_iter().chain(ended)) {
        record_at(&mut store, OLD, number, state);
    }
    commit(&mut store, OLD, &refused(10, "a"));
    let old_mark = record_at(&mut store, OLD, 11, InboundState::Received);
    commit(&mut store, NEW, &mark(old_mark, InboundState::Done));
    for (now_ms, state) in [(OLD, OutboundState::Delivered), (OLD, OutboundState::Pending), (NEW, OutboundState::Dead)]
    {
        let id = commit(&mut store, now_ms, &reply(None, OutboundState::Pending));
        commit(&mut store, now_ms, &MarkOutbound { id, state, message_id: None, error: None });
    }
    // The newest row stays in any state.
    record_at(&mut store, NEW, 12, InboundState::Received);

    let deleted = sweep(&mut store, 0, 100);
    let (inbound, outbound) = (deleted.inbound.iter().sum::<i64>(), deleted.outbound.iter().sum::<i64>());
    assert_eq!((inbound, outbound), (-5, -1));
    for state in open {
        assert!(!events(&mut store, state).is_empty(), "{state:?}");
    }
    for state in [InboundState::Interrupted, InboundState::Failed, InboundState::Dead, InboundState::Refused] {
        assert_eq!(events(&mut store, state), [], "{state:?}");
    }
    let done: Vec<_> = events(&mut store, InboundState::Done).iter().map(|row| row.id).collect();
    assert_eq!(done, [old_mark], "the time of the mark decides");
    assert_eq!(commit(&mut store, NEW, &ListRefusals), [], "a deleted event is no longer unread");
    let gone = LedgerError::Missing { table: "inbound", row: 5 };
    let mut replies = crate::ledger::repeats::LastReplies::default();
    let mut ledger = LedgerTransaction::new(store.begin(NEW).unwrap(), &mut replies);
    let read = ReadInbound { id: InboundId(5) }.run(&mut ledger);
    assert!(matches!(read, Err(Failure::Answered(error)) if error == gone));
    drop(ledger);
    // A key is forgotten with its row, and the key of another row is not.
    assert!(matches!(commit(&mut store, NEW, &event(0)), Recorded::Duplicate { id: InboundId(1), .. }));
    assert!(matches!(commit(&mut store, NEW, &event(4)), Recorded::New(_)));

    drop(store);
    let counts = home.open_store().row_counts();
    let expected =
        [(InboundState::Received, 3), (InboundState::Running, 1), (InboundState::Held, 1), (InboundState::Done, 1)];
    assert_eq!(counts.inbound(), expected.into());
}

pub(super) fn rows_in_excess_are_deleted_oldest_first_and_the_newest_row_stays<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    for number in 0..5 {
        record_at(&mut store, NEW, number, InboundState::Done);
    }
    let left = |store: &mut H::Store| events(store, InboundState::Done).iter().map(|row| row.id.0).collect::<Vec<_>>();
    assert_eq!(sweep(&mut store, -1, 100), RowCounts::default());
    sweep(&mut store, 2, 100);
    assert_eq!(left(&mut store), [3, 4, 5]);
    // Its number must not be used again.
    sweep(&mut store, 9, 100);
    assert_eq!(left(&mut store), [5]);
    drop(store);
    assert_eq!(record_at(&mut home.open_store(), NEW, 6, InboundState::Received), InboundId(6));
}

pub(super) fn a_backlog_of_expired_rows_is_deleted_in_slices<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    for number in 0..7 {
        // The first rows are open, and the sweep goes on behind them.
        let state = if number < 3 { InboundState::Held } else { InboundState::Done };
        record_at(&mut store, OLD, number, state);
    }
    record_at(&mut store, NEW, 7, InboundState::Received);
    let expiry = Expiry { changed_before_ms: 2_000, excess_inbound: 0, excess_outbound: 0, slice: 2 };
    let first = store.delete_expired(&expiry).unwrap();
    assert!(first.more && first.delta.inbound.iter().sum::<i64>() >= -2);
    sweep(&mut store, 0, 2);
    assert_eq!(events(&mut store, InboundState::Done), []);
    assert_eq!(events(&mut store, InboundState::Held).len(), 3);
}

pub(super) fn an_open_row_among_young_ones_hides_no_expired_rows_behind_them<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    record_at(&mut store, OLD, 0, InboundState::Held);
    let late = record_at(&mut store, OLD, 1, InboundState::Received);
    commit(&mut store, NEW, &mark(late, InboundState::Done));
    for number in 2..4 {
        record_at(&mut store, OLD, number, InboundState::Done);
    }
    record_at(&mut store, NEW, 4, InboundState::Received);
    sweep(&mut store, 0, 2);
    let left: Vec<_> = events(&mut store, InboundState::Done).iter().map(|row| row.id).collect();
    assert_eq!(left, [late]);
}

pub(super) fn rows_deleted_before_their_time_are_counted<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    for (number, now_ms) in (0..).zip([OLD, OLD, NEW, NEW, NEW]) {
        record_at(&mut store, now_ms, number, InboundState::Done);
    }
    let expiry = Expiry { changed_before_ms: 2_000, excess_inbound: 3, excess_outbound: 0, slice: 100 };
    assert_eq!(store.delete_expired(&expiry).unwrap().early, 1);
}

pub(super) fn rows_in_excess_are_the_oldest_also_over_many_sweeps_with_new_rows_between<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    record_at(&mut store, NEW, 0, InboundState::Held);
    let mut number = 1;
    let mut record = |store: &mut H::Store, rows: u64| {
        for _ in 0..rows {
            record_at(store, NEW, number, InboundState::Done);
            number += 1;
        }
    };
    record(&mut store, 30);
    for _ in 0..12 {
        record(&mut store, 3);
        let expiry = Expiry { changed_before_ms: 2_000, excess_inbound: 3, excess_outbound: 0, slice: 10 };
        assert_eq!(store.delete_expired(&expiry).unwrap().delta.inbound.iter().sum::<i64>(), -3);
    }
    // Row 1 is held, and the newest thirty of the others are left.
    let left: Vec<_> = events(&mut store, InboundState::Done).iter().map(|row| row.id.0).collect();
    assert_eq!(left, (38..=67).collect::<Vec<_>>());
}
