//! The states as numbers on disk. A number is never reused for another state.

use std::collections::BTreeMap;

use caduceus_contract::messages::ledger::{InboundState, OutboundState};

/// Rows in a state from this number on count towards the retention. Interrupted ones are included: after
/// a week they are no longer retried.
pub(super) const INBOUND_ENDED: usize = 3;
/// As [`INBOUND_ENDED`], for outbound messages.
pub(super) const OUTBOUND_ENDED: usize = 3;

/// Inbound rows in a state below this number are open: they are listed at start, or run again.
pub(super) const INBOUND_OPEN: usize = 4;
/// As [`INBOUND_OPEN`], for outbound messages.
pub(super) const OUTBOUND_OPEN: usize = 3;

/// The state of events that were given up.
pub(super) const INBOUND_DEAD: usize = 7;
/// As [`INBOUND_DEAD`], of outbound messages.
pub(super) const OUTBOUND_DEAD: usize = 5;

pub(super) const INBOUND: [InboundState; 8] = [
    InboundState::Received,
    InboundState::Running,
    InboundState::Held,
    InboundState::Interrupted,
    InboundState::Done,
    InboundState::Failed,
    InboundState::Refused,
    InboundState::Dead,
];

pub(super) const OUTBOUND: [OutboundState; 6] = [
    OutboundState::Pending,
    OutboundState::Sending,
    OutboundState::Ambiguous,
    OutboundState::Delivered,
    OutboundState::Refused,
    OutboundState::Dead,
];

pub(super) fn inbound_code(state: InboundState) -> usize {
    match state {
        InboundState::Received => 0,
        InboundState::Running => 1,
        InboundState::Held => 2,
        InboundState::Interrupted => 3,
        InboundState::Done => 4,
        InboundState::Failed => 5,
        InboundState::Refused => 6,
        InboundState::Dead => INBOUND_DEAD,
    }
}

pub(super) fn outbound_code(state: OutboundState) -> usize {
    match state {
        OutboundState::Pending => 0,
        OutboundState::Sending => 1,
        OutboundState::Ambiguous => 2,
        OutboundState::Delivered => 3,
        OutboundState::Refused => 4,
        OutboundState::Dead => OUTBOUND_DEAD,
    }
}

/// Whether a mark may move an event from one state to the other. Marks of one sender can overtake each other, when a full mailbox delays one
/// of them: none moves an event back from where a later one has brought it, and none changes anything in a final state: it would write again
/// what an erasure has removed. What moves an event back on purpose is an operation of its own: an operator has it run again, or its turn
/// never started.
pub(super) fn inbound_moves(from: InboundState, to: InboundState) -> bool {
    match from {
        InboundState::Received | InboundState::Held => true,
        InboundState::Running => !matches!(to, InboundState::Received | InboundState::Held),
        // `/retry` runs it again.
        InboundState::Interrupted => to != InboundState::Held,
        InboundState::Done | InboundState::Failed | InboundState::Refused | InboundState::Dead => false,
    }
}

/// As [`inbound_moves`], of outbound messages. What may have arrived never becomes what was certainly not sent.
pub(super) fn outbound_moves(from: OutboundState, to: OutboundState) -> bool {
    match from {
        OutboundState::Pending | OutboundState::Sending => true,
        OutboundState::Ambiguous => to != OutboundState::Pending,
        OutboundState::Delivered | OutboundState::Refused | OutboundState::Dead => false,
    }
}

pub(super) fn inbound_state(code: usize) -> Option<InboundState> {
    INBOUND.get(code).copied()
}

pub(super) fn outbound_state(code: usize) -> Option<OutboundState> {
    OUTBOUND.get(code).copied()
}

/// When the oldest row in each state that is open or dead was recorded, in milliseconds since 1970; `None` without one, and in other states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OldestRows {
    pub(super) inbound: [Option<i64>; INBOUND.len()],
    pub(super) outbound: [Option<i64>; OUTBOUND.len()],
}

impl OldestRows {
    /// The age of the oldest event in each state, in milliseconds at `now_ms`.
    pub(super) fn inbound_ages(&self, now_ms: i64) -> BTreeMap<InboundState, u64> {
        ages(&INBOUND, &self.inbound, now_ms)
    }

    /// As [`OldestRows::inbound_ages`], of outbound messages.
    pub(super) fn outbound_ages(&self, now_ms: i64) -> BTreeMap<OutboundState, u64> {
        ages(&OUTBOUND, &self.outbound, now_ms)
    }
}

/// A time in the future, after a clock was set back, is age 0.
fn ages<S: Copy + Ord>(states: &[S], oldest: &[Option<i64>], now_ms: i64) -> BTreeMap<S, u64> {
    let age = |(state, at_ms): (&S, &Option<i64>)| {
        Some((*state, u64::try_from(now_ms.saturating_sub((*at_ms)?)).unwrap_or_default()))
    };
    states.iter().zip(oldest).filter_map(age).collect()
}

/// How many rows are in each state, or how a transaction changes that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowCounts {
    pub(super) inbound: [i64; INBOUND.len()],
    pub(super) outbound: [i64; OUTBOUND.len()],
    /// Events and outbound messages written.
    pub(super) written: u64,
}

impl RowCounts {
    /// Adds the changes of `other`.
    pub(super) fn add(&mut self, other: &Self) {
        let pairs = self.inbound.iter_mut().zip(other.inbound).chain(self.outbound.iter_mut().zip(other.outbound));
        pairs.for_each(|(count, change)| *count += change);
        self.written += other.written;
    }

    /// Inbound rows by state; a state without rows is missing.
    pub(super) fn inbound(&self) -> BTreeMap<InboundState, u64> {
        non_zero(&INBOUND, &self.inbound)
    }

    /// Outbound rows by state; a state without rows is missing.
    pub(super) fn outbound(&self) -> BTreeMap<OutboundState, u64> {
        non_zero(&OUTBOUND, &self.outbound)
    }
}

/// The states with rows.
fn non_zero<S: Copy + Ord>(states: &[S], counts: &[i64]) -> BTreeMap<S, u64> {
    let pair = |(state, count): (&S, &i64)| Some((*state, u64::try_from(*count).ok().filter(|count| *count > 0)?));
    states.iter().zip(counts).filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_read_back_as_itself() {
        for (code, state) in INBOUND.into_iter().enumerate() {
            assert_eq!((inbound_code(state), inbound_state(code)), (code, Some(state)));
        }
        for (code, state) in OUTBOUND.into_iter().enumerate() {
            assert_eq!((outbound_code(state), outbound_state(code)), (code, Some(state)));
        }
        assert_eq!((inbound_state(INBOUND.len()), outbound_state(OUTBOUND.len())), (None, None));
    }

    #[test]
    fn the_age_of_a_row_is_that_of_its_record_and_never_negative() {
        let mut oldest = OldestRows::default();
        oldest.inbound[INBOUND_DEAD] = Some(400);
        oldest.inbound[0] = Some(2_000);
        let ages = oldest.inbound_ages(1_000);
        assert_eq!(ages, [(InboundState::Received, 0), (InboundState::Dead, 600)].into());
        assert_eq!(oldest.outbound_ages(1_000), BTreeMap::new());
    }

    #[test]
    fn the_retention_never_counts_a_row_that_may_still_run_or_go_out() {
        let open = [InboundState::Received, InboundState::Running, InboundState::Held];
        assert!(open.into_iter().all(|state| inbound_code(state) < INBOUND_ENDED.min(INBOUND_OPEN)));
        assert!(inbound_code(InboundState::Interrupted) < INBOUND_OPEN);
        let open = [OutboundState::Pending, OutboundState::Sending, OutboundState::Ambiguous];
        assert!(open.into_iter().all(|state| outbound_code(state) < OUTBOUND_ENDED.min(OUTBOUND_OPEN)));
    }
}
