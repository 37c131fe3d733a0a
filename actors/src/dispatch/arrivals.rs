//! Restores the order in which events arrived: the runtime may deliver the answers of the ledger in any order, but a session runs its
//! events in order of arrival.

use std::collections::BTreeMap;

/// The place of one event in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ArrivalPlace(u64);

/// Events between their arrival and the answer of the ledger.
#[derive(Debug)]
pub(super) struct Arrivals<T> {
    next: u64,
    /// All before this one are settled.
    due: u64,
    /// Settled while one before it is not.
    waiting: BTreeMap<u64, Option<T>>,
}

impl<T> Default for Arrivals<T> {
    fn default() -> Self {
        Self { next: 0, due: 0, waiting: BTreeMap::new() }
    }
}

impl<T> Arrivals<T> {
    /// An event arrived.
    pub(super) fn arrived(&mut self) -> ArrivalPlace {
        self.next += 1;
        ArrivalPlace(self.next - 1)
    }

    /// The ledger has answered about the event at `place`; `None` if no action follows. Every place must be
    /// settled, because later ones wait for it. Returns the events that are complete now, in order.
    pub(super) fn settled(&mut self, ArrivalPlace(place): ArrivalPlace, outcome: Option<T>) -> Vec<T> {
        self.waiting.insert(place, outcome);
        let mut ready = Vec::new();
        while let Some(outcome) = self.waiting.remove(&self.due) {
            self.due += 1;
            ready.extend(outcome);
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
            keys in prop::collection::vec((any::<u32>(), any::<bool>()), 0..50),
        ) {
            let mut arrivals = Arrivals::default();
            let mut answers: Vec<_> =
                keys.iter().enumerate().map(|(number, (key, kept))| (*key, number, *kept, arrivals.arrived())).collect();
            answers.sort_by_key(|(key, ..)| *key);
            let out: Vec<usize> = answers
                .into_iter()
                .flat_map(|(_, number, kept, place)| arrivals.settled(place, kept.then_some(number)))
                .collect();
            let kept = (0..keys.len()).filter(|number| keys[*number].1);
            prop_assert_eq!(out, kept.collect::<Vec<_>>());
        }
    }
}
