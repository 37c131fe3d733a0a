//! The counts of the dispatcher. They outlive every incarnation of the actor: a restart resets no count.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::locked::locked;
use caduceus_contract::messages::dispatch::DispatchView;

/// Turns kept for the graph: those of a busy minute.
const RECENT_TURNS: usize = 600;

/// The counts since the process started. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct DispatchCounts(Arc<Mutex<DispatchCounters>>);

#[derive(Debug, Default)]
struct DispatchCounters {
    done: u64,
    failed: u64,
    stopped: u64,
    refused: u64,
    duplicates: u64,
    recent: VecDeque<(i64, u64)>,
}

impl DispatchCounts {
    /// A turn was answered.
    pub(super) fn done(&self) {
        self.lock().done += 1;
    }

    /// A turn failed.
    pub(super) fn failed(&self) {
        self.lock().failed += 1;
    }

    /// A turn was stopped.
    pub(super) fn stopped(&self) {
        self.lock().stopped += 1;
    }

    /// An event was refused.
    pub(super) fn refused(&self) {
        self.lock().refused += 1;
    }

    /// An event was in the ledger already.
    pub(super) fn duplicate(&self) {
        self.lock().duplicates += 1;
    }

    /// A turn ended at `end_ms`, milliseconds since 1970, after `length_ms`.
    pub(super) fn took(&self, end_ms: i64, length_ms: u64) {
        let mut counted = self.lock();
        counted.recent.push_back((end_ms, length_ms));
        if counted.recent.len() > RECENT_TURNS {
            counted.recent.pop_front();
        }
    }

    /// Writes the counts into `view`.
    pub(super) fn fill(&self, view: &mut DispatchView) {
        let counted = self.lock();
        view.done = counted.done;
        view.failed = counted.failed;
        view.stopped = counted.stopped;
        view.refused = counted.refused;
        view.duplicates = counted.duplicates;
        view.recent_turns = counted.recent.iter().copied().collect();
    }

    fn lock(&self) -> MutexGuard<'_, DispatchCounters> {
        locked(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_keeps_a_bounded_number_of_turns_the_newest_last() {
        let counts = DispatchCounts::default();
        for end in 0..1_000 {
            counts.clone().took(end, 1);
        }
        let mut view = DispatchView::default();
        counts.fill(&mut view);
        let recent = view.recent_turns;
        assert_eq!((recent.len(), recent.first().unwrap().0, recent.last().unwrap().0), (RECENT_TURNS, 400, 999));
    }
}
