//! Events that were received and not acknowledged yet: which one is offered next, which may be acknowledged, when reading stops.
//!
//! No I/O. From the first refusal on nothing new is offered, and held events are offered one by one, so that the events of a
//! chat keep their order. Acknowledgements keep the order too: a connector may read one as acknowledging all before it.

use std::collections::BTreeMap;

use crate::in_order::{InOrder, Place};

/// The place of an event among those of its connection.
pub(super) type Seq = Place;

/// The events of one connection between the socket and the acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct UnackedEvents<T> {
    /// Accepted ones, in order of arrival.
    taken: InOrder<T>,
    /// Number of events that the dispatcher has not answered.
    offered: usize,
    /// Refused, or received after a refusal.
    held: BTreeMap<Seq, T>,
    /// An event was refused and is not accepted yet.
    blocked: bool,
    /// An offered event was refused since the last wait.
    refused: bool,
    /// Consecutive waits after which nothing was accepted.
    rounds: u32,
}

/// The dispatcher's answer for one event.
#[derive(Debug)]
pub(super) enum OfferAnswer<T> {
    Taken(T),
    /// To be offered again.
    Refused(T),
}

/// What to do after an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextAction {
    /// Nothing.
    Nothing,
    /// Stop reading the socket.
    Pause,
    /// Stop reading the socket, and offer the held events after a wait.
    OfferLater {
        /// Counts the waits, from 0.
        round: u32,
    },
    /// Offer the held events.
    OfferNow,
    /// Resume reading.
    Resume,
}

impl<T> Default for UnackedEvents<T> {
    fn default() -> Self {
        Self { taken: InOrder::default(), offered: 0, held: BTreeMap::new(), blocked: false, refused: false, rounds: 0 }
    }
}

impl<T> UnackedEvents<T> {
    /// Adds an event; returns it if it is to be offered now.
    pub(super) fn arrived(&mut self, item: T) -> Option<(Seq, T)> {
        let seq = self.taken.reserve();
        if self.blocked {
            self.held.insert(seq, item);
            return None;
        }
        self.offered += 1;
        Some((seq, item))
    }

    /// The event offered as `seq` was answered. Returns, in order, the events that may be acknowledged.
    pub(super) fn answered(&mut self, seq: Seq, answer: OfferAnswer<T>) -> (Vec<T>, NextAction) {
        self.offered = self.offered.saturating_sub(1);
        let was_blocked = self.blocked;
        let done = match answer {
            OfferAnswer::Taken(item) => self.taken.complete(seq, item),
            OfferAnswer::Refused(item) => {
                self.held.insert(seq, item);
                self.blocked = true;
                self.refused = true;
                Vec::new()
            }
        };
        (done, self.after(was_blocked))
    }

    fn after(&mut self, was_blocked: bool) -> NextAction {
        if self.offered > 0 {
            return if self.blocked && !was_blocked { NextAction::Pause } else { NextAction::Nothing };
        }
        if std::mem::take(&mut self.refused) {
            let round = self.rounds;
            self.rounds += 1;
            return NextAction::OfferLater { round };
        }
        self.rounds = 0;
        if !self.blocked {
            return NextAction::Nothing;
        }
        if !self.held.is_empty() {
            return NextAction::OfferNow;
        }
        self.blocked = false;
        NextAction::Resume
    }

    /// The first held event, to be offered now.
    pub(super) fn offer_again(&mut self) -> Option<(Seq, T)> {
        let first = self.held.pop_first()?;
        self.offered += 1;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(unacked: &mut UnackedEvents<char>, offer: (Seq, char)) -> (String, NextAction) {
        let (done, after) = unacked.answered(offer.0, OfferAnswer::Taken(offer.1));
        (done.into_iter().collect(), after)
    }

    fn refuse(unacked: &mut UnackedEvents<char>, offer: (Seq, char)) -> NextAction {
        let (done, after) = unacked.answered(offer.0, OfferAnswer::Refused(offer.1));
        assert!(done.is_empty());
        after
    }

    #[test]
    fn accepted_events_never_stop_the_reading() {
        let mut unacked = UnackedEvents::default();
        for item in "abc".chars() {
            let offer = unacked.arrived(item).unwrap();
            assert_eq!(take(&mut unacked, offer), (item.into(), NextAction::Nothing));
        }
    }

    #[test]
    fn acknowledgements_keep_the_order_of_arrival() {
        let mut unacked = UnackedEvents::default();
        let [a, b, c] = ['a', 'b', 'c'].map(|item| unacked.arrived(item).unwrap());
        assert_eq!(take(&mut unacked, c).0, "");
        assert_eq!(take(&mut unacked, a).0, "a");
        assert_eq!(take(&mut unacked, b).0, "bc");
    }

    #[test]
    fn refused_events_are_offered_again_one_by_one_in_order_of_arrival() {
        let mut unacked = UnackedEvents::default();
        let [a, b] = ['a', 'b'].map(|item| unacked.arrived(item).unwrap());
        assert_eq!(refuse(&mut unacked, b), NextAction::Pause);
        assert_eq!(unacked.arrived('c'), None, "what comes in meanwhile waits behind");
        assert_eq!(refuse(&mut unacked, a), NextAction::OfferLater { round: 0 });
        let a = unacked.offer_again().unwrap();
        assert_eq!(refuse(&mut unacked, a), NextAction::OfferLater { round: 1 });
        let a = unacked.offer_again().unwrap();
        assert_eq!(take(&mut unacked, a), ("a".into(), NextAction::OfferNow));
        let b = unacked.offer_again().unwrap();
        assert_eq!(take(&mut unacked, b), ("b".into(), NextAction::OfferNow));
        let c = unacked.offer_again().unwrap();
        assert_eq!(take(&mut unacked, c), ("c".into(), NextAction::Resume));
        assert_eq!(unacked.arrived('d').unwrap().1, 'd');
    }

    #[test]
    fn waits_grow_until_an_event_is_accepted() {
        let mut unacked = UnackedEvents::default();
        let mut offer = unacked.arrived('a').unwrap();
        for round in 0..3 {
            assert_eq!(refuse(&mut unacked, offer), NextAction::OfferLater { round });
            offer = unacked.offer_again().unwrap();
        }
        assert_eq!(take(&mut unacked, offer).1, NextAction::Resume);
        let offer = unacked.arrived('b').unwrap();
        assert_eq!(refuse(&mut unacked, offer), NextAction::OfferLater { round: 0 });
    }
}
