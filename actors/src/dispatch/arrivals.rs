//! Restores the order in which events arrived: the runtime may deliver the answers of the ledger in any order, but a session runs its
//! events in order of arrival.

use std::collections::BTreeMap;

/// The place of events that arrived together in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ArrivalPlace(u64);

/// Events between their arrival and the answer of the ledger.
#[derive(Debug)]
pub(super) struct Arrivals<T> {
    next: u64,
    /// All before this one are settled.
    due: u64,
    /// Settled while one before it is not.
    waiting: BTreeMap<u64, Vec<T>>,
}

impl<T> Default for Arrivals<T> {
    fn default() -> Self {
        Self { next: 0, due: 0, waiting: BTreeMap::new() }
    }
}

impl<T> Arrivals<T> {
    /// Events arrived together.
    pub(super) fn arrived(&mut self) -> ArrivalPlace {
        self.next += 1;
        ArrivalPlace(self.next - 1)
    }

    /// The ledger has answered about the events at `place`, of which these have an action that follows. Every place must be
    /// settled, because later ones wait for it. Returns the events that are complete now, in order.
    pub(super) fn settled(&mut self, ArrivalPlace(place): ArrivalPlace, events: Vec<T>) -> Vec<T> {
        if place == self.due && self.waiting.is_empty() {
            self.due += 1;
            return events;
        }
        self.waiting.insert(place, events);
        let mut ready = Vec::new();
        while let Some(events) = self.waiting.remove(&self.due) {
            self.due += 1;
            ready.extend(events);
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn events_are_returned_in_order_of_arrival_for_any_order_of_answers(
            keys in prop::collection::vec((any::<u32>(), 0..3_usize), 0..50),
        ) {
            let mut arrivals = Arrivals::default();
            let mut answers: Vec<_> =
                keys.iter().enumerate().map(|(number, (key, kept))| (*key, vec![number; *kept], arrivals.arrived())).collect();
            let kept: Vec<usize> = answers.iter().flat_map(|(_, kept, _)| kept.clone()).collect();
            answers.sort_by_key(|(key, ..)| *key);
            let out: Vec<usize> = answers.into_iter().flat_map(|(_, kept, place)| arrivals.settled(place, kept)).collect();
            prop_assert_eq!(out, kept);
        }
    }
}
