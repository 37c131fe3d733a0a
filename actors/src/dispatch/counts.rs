//! The counts of the dispatcher. They outlive every incarnation of the actor: a restart resets no count.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::locked::locked;
use crate::time::now_ms;
use caduceus_contract::messages::dispatch::DispatchView;
use caduceus_contract::messages::turn::TurnOutcome;

/// Turns kept for the graph: those of a busy minute.
const RECENT_TURNS: usize = 600;

/// The counts since the process started. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct DispatchCounts(Arc<Mutex<DispatchCounters>>);

/// What was not done because of a limit. Each has a line in the log and a count in the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    /// A reply was sent too often without a result, or was too old or unreadable.
    Reply,
    /// A notice of the gateway, because too many chats got one within a minute.
    Notice,
    /// An event was refused, or a delivery not taken, because too many of its link waited.
    Event,
}

impl Dropped {
    const ALL: [Self; 3] = [Self::Reply, Self::Notice, Self::Event];

    fn word(self) -> &'static str {
        match self {
            Self::Reply => "replies",
            Self::Notice => "notices",
            Self::Event => "events",
        }
    }
}

#[derive(Debug, Default)]
struct DispatchCounters {
    done: u64,
    failed: u64,
    stopped: u64,
    refused: u64,
    duplicates: u64,
    dropped: BTreeMap<&'static str, u64>,
    recent: VecDeque<(i64, u64)>,
}

impl DispatchCounters {
    /// A turn ended at `end_ms`, milliseconds since 1970, after `length_ms`.
    fn took(&mut self, end_ms: i64, length_ms: u64) {
        self.recent.push_back((end_ms, length_ms));
        if self.recent.len() > RECENT_TURNS {
            self.recent.pop_front();
        }
    }
}

impl DispatchCounts {
    /// A turn has ended, after this number of milliseconds if it had started. One step, so that what has the newest count has the newest
    /// turn.
    pub(super) fn ended(&self, outcome: &TurnOutcome, length_ms: Option<u64>) {
        let mut counted = self.lock();
        match outcome {
            TurnOutcome::Done => counted.done += 1,
            TurnOutcome::Failed { .. } => counted.failed += 1,
            TurnOutcome::Stopped(_) => counted.stopped += 1,
        }
        if let Some(length_ms) = length_ms {
            // Inside the lock, so that turns of several dispatchers are in order.
            counted.took(now_ms(), length_ms);
        }
    }

    /// An event was refused.
    pub(super) fn refused(&self) {
        self.lock().refused += 1;
    }

    /// An event was in the ledger already.
    pub(super) fn duplicate(&self) {
        self.lock().duplicates += 1;
    }

    /// Something was not done because of a limit.
    pub(super) fn dropped(&self, what: Dropped) {
        *self.lock().dropped.entry(what.word()).or_default() += 1;
    }

    /// Writes the counts into `view`.
    pub(super) fn fill(&self, view: &mut DispatchView) {
        let counted = self.lock();
        view.done = counted.done;
        view.failed = counted.failed;
        view.stopped = counted.stopped;
        view.refused = counted.refused;
        view.duplicates = counted.duplicates;
        view.dropped = Dropped::ALL
            .map(|what| (what.word(), counted.dropped.get(what.word()).copied().unwrap_or_default()))
            .into();
        view.recent_turns = counted.recent.iter().copied().collect();
    }

    fn lock(&self) -> MutexGuard<'_, DispatchCounters> {
        locked(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_graph_keeps_a_bounded_number_of_turns_the_newest_last() {
        let counts = DispatchCounts::default();
        for end in 0..1_000 {
            counts.lock().took(end, 1);
        }
        let mut view = DispatchView::default();
        counts.fill(&mut view);
        let recent = view.recent_turns;
        assert_eq!((recent.len(), recent.first().unwrap().0, recent.last().unwrap().0), (RECENT_TURNS, 400, 999));
    }

    #[test]
    fn a_turn_of_any_dispatcher_is_counted_with_its_length_in_one_step_and_in_order() {
        const TURNS: usize = 250;
        let counts = DispatchCounts::default();
        let view = || {
            let mut view = DispatchView::default();
            counts.fill(&mut view);
            let Ok(ended) = usize::try_from(view.done + view.failed) else { panic!("{view:?}") };
            assert_eq!(ended, view.recent_turns.len());
            assert!(view.recent_turns.is_sorted_by_key(|(end, _)| *end));
            ended
        };
        let failed = TurnOutcome::Failed { notice: String::new() };
        thread::scope(|scope| {
            for outcome in [&TurnOutcome::Done, &failed] {
                let counts = counts.clone();
                scope.spawn(move || (0..TURNS).for_each(|length| counts.ended(outcome, Some(length as u64))));
            }
            while view() < 2 * TURNS {}
        });
    }
}
