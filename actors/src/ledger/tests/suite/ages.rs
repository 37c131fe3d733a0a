//! When the oldest rows that are open or dead were recorded.

use super::transactions::commit;
use super::*;
use crate::ledger::states::{INBOUND_DEAD, OUTBOUND_DEAD, OldestRows, inbound_code, outbound_code};

pub(super) fn the_oldest_row_in_each_state_is_the_next_one_when_it_has_left_the_state<H: TestHome>() {
    let home = H::new();
    let mut store = home.open_store();
    assert_eq!(store.oldest_rows(), OldestRows::default());
    for number in 1..=3_u64 {
        commit(&mut store, number.cast_signed() * 100, &event(number));
    }
    let waiting = commit(&mut store, 400, &reply(None, OutboundState::Pending));
    let mut expected = OldestRows::default();
    expected.inbound[inbound_code(InboundState::Received)] = Some(100);
    expected.outbound[outbound_code(OutboundState::Pending)] = Some(400);
    assert_eq!(store.oldest_rows(), expected);

    commit(&mut store, 500, &mark(InboundId(1), InboundState::Running));
    commit(&mut store, 500, &mark(InboundId(2), InboundState::Dead));
    commit(&mut store, 500, &MarkOutbound { id: waiting, state: OutboundState::Dead, message_id: None, error: None });
    let mut expected = OldestRows::default();
    expected.inbound[inbound_code(InboundState::Received)] = Some(300);
    expected.inbound[inbound_code(InboundState::Running)] = Some(100);
    expected.inbound[INBOUND_DEAD] = Some(200);
    expected.outbound[OUTBOUND_DEAD] = Some(400);
    assert_eq!(store.oldest_rows(), expected, "the time of the record counts, and not that of the mark");
    drop(store);
    let mut store = home.open_store();
    assert_eq!(store.oldest_rows(), expected);

    // A transaction that fails changes nothing.
    let mut replies = crate::ledger::repeats::LastReplies::default();
    let mut ledger = LedgerTransaction::new(store.begin(600).unwrap(), &mut replies);
    mark(InboundId(1), InboundState::Done).run(&mut ledger).unwrap();
    drop(ledger);
    assert_eq!(store.oldest_rows(), expected);
    commit(&mut store, 600, &mark(InboundId(1), InboundState::Done));
    expected.inbound[inbound_code(InboundState::Running)] = None;
    assert_eq!(store.oldest_rows(), expected);
}
