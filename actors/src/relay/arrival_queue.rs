//! The arrivals of a connection, from the socket to the acknowledgement: some wait for their media, some for the dispatcher's answer.
//! Keeps their order. No I/O.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::arrival::{Arrival, PLACES};
use super::unacked::{NextAction, OfferAnswer, Seq, UnackedEvents};
use crate::in_order::{InOrder, Place};

/// The arrivals that are not acknowledged yet.
#[derive(Debug)]
pub(super) struct ArrivalQueue {
    /// Places for arrivals, shared by all connections: arrivals of an older connection may still wait for an answer.
    places: Arc<Semaphore>,
    /// Events, some of which wait for their media.
    incomplete: InOrder<Arrival>,
    unacked: UnackedEvents<Arrival>,
    /// To be offered together, before the handler returns.
    to_offer: Vec<(Seq, Arrival)>,
}

impl ArrivalQueue {
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(PLACES as usize)),
            incomplete: InOrder::default(),
            unacked: UnackedEvents::default(),
            to_offer: Vec::new(),
        }
    }

    /// The places that arrivals take.
    pub(super) fn places(&self) -> Arc<Semaphore> {
        Arc::clone(&self.places)
    }

    /// The place of an arrival in the order. Every place must be completed.
    pub(super) fn reserve(&mut self) -> Place {
        self.incomplete.reserve()
    }

    /// The arrival at `place` has its media. It is offered once all before it are complete.
    pub(super) fn complete(&mut self, place: Place, arrival: Arrival) {
        for arrival in self.incomplete.complete(place, arrival) {
            self.to_offer.extend(self.unacked.arrived(arrival));
        }
    }

    /// Takes the arrivals to offer now.
    pub(super) fn take_offers(&mut self) -> Vec<(Seq, Arrival)> {
        std::mem::take(&mut self.to_offer)
    }

    /// An offered arrival was taken or refused. Returns, in order, those that may be acknowledged.
    pub(super) fn answered(&mut self, seq: Seq, arrival: Arrival, taken: bool) -> (Vec<Arrival>, NextAction) {
        let answer = if taken { OfferAnswer::Taken(arrival) } else { OfferAnswer::Refused(arrival) };
        self.unacked.answered(seq, answer)
    }

    /// Adds the first held arrival to those to offer; `false` if none is held.
    pub(super) fn offer_again(&mut self) -> bool {
        let offer = self.unacked.offer_again();
        let is_held = offer.is_some();
        self.to_offer.extend(offer);
        is_held
    }

    /// The connection is closed: the connector sends again the events that were not acknowledged. What is to be offered is taken before, if
    /// at all: later it would be offered as an event of the next connection.
    pub(super) fn clear(&mut self) {
        self.to_offer.clear();
        self.unacked = UnackedEvents::default();
        self.incomplete = InOrder::default();
    }
}
