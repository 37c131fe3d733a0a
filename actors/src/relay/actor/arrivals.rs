//! The events of the connection: what arrived is completed with its media, offered to the dispatcher, and acknowledged.

use std::sync::Arc;
use std::time::Instant;

use actix::{AsyncContext, Context, Handler, Message, StreamHandler};
use tokio::sync::OwnedSemaphorePermit;

use super::super::arrival::{Arrival, ArrivalContent, ArrivedEvent};
use super::super::context::DeadLetterAnswer;
use super::super::offers::OfferedAnswer;
use super::super::socket::SocketEvent;
use super::super::unacked::{NextAction, Seq};
use super::RelayActor;
use crate::in_order::Place;
use caduceus_contract::json::RawJson;
use caduceus_contract::messages::dispatch::{ArrivedAs, OfferedEvent};
use caduceus_contract::wire::event::InboundEvent;
use caduceus_contract::wire::frame::ToConnector;

/// The media of an event were fetched, or cannot be.
#[derive(Message)]
#[rtype(result = "()")]
struct MediaFetched {
    generation: u64,
    place: Place,
    arrival: Arrival,
    event: Arc<InboundEvent>,
    raw_event: RawJson,
}

/// A dispatcher has answered for the events that it was offered together.
#[derive(Message)]
#[rtype(result = "()")]
struct OffersAnswered {
    generation: u64,
    offered: Vec<(Seq, Arrival)>,
    answer: OfferedAnswer,
}

/// The ledger has answered for a dead letter.
#[derive(Message)]
#[rtype(result = "()")]
struct DeadLetterAnswered {
    generation: u64,
    seq: Seq,
    arrival: Arrival,
    answer: DeadLetterAnswer,
}

/// The wait before refused events are offered again is over.
#[derive(Message)]
#[rtype(result = "()")]
struct OfferAgain {
    generation: u64,
}

impl RelayActor {
    fn handle_event(&mut self, generation: u64, event: SocketEvent, ctx: &mut Context<Self>) {
        if let Some(kind) = event.frame_kind() {
            self.context.counts().frame(kind);
            self.context.counts().inbound(Instant::now());
        }
        match event {
            SocketEvent::Arrived(arrival) => self.arrived(generation, *arrival),
            SocketEvent::Frame(frame) => self.handle_frame(generation, *frame, ctx),
            SocketEvent::AckRequested(buffer_id) => self.send_ack(buffer_id, None),
            SocketEvent::Unknown => {}
            SocketEvent::Skipped(reason) => self.context.skipped(&reason),
            SocketEvent::Ended(loss) => self.decide(ctx, |plan, at| plan.lost(generation, &loss, at)),
        }
    }

    /// An event that needs no media is complete. The next [`RelayActor::send_offers`] offers what is complete.
    fn arrived(&mut self, generation: u64, mut arrival: Arrival) {
        arrival.gateway = self.params.gateway_id();
        let host = match &arrival.content {
            ArrivalContent::Event(event) => self.params.media_host(&event.event).map(|url| (url, event)),
            ArrivalContent::Dead(_) => None,
        };
        let place = self.arrivals.reserve();
        let Some((url, event)) = host else {
            return self.arrivals.complete(place, arrival);
        };
        let fetching = self.fetcher.clone().with_media(url, Arc::clone(&event.event), event.raw_event.clone());
        self.tasks.notify(async move {
            let (event, raw_event) = fetching.await;
            MediaFetched { generation, place, arrival, event, raw_event }
        });
    }

    /// Sends the events to the dispatchers, in one message to each, and the dead letters to the ledger.
    pub(super) fn send_offers(&mut self, generation: u64) {
        let mut events = Vec::new();
        for (seq, arrival) in self.arrivals.take_offers() {
            match &arrival.content {
                ArrivalContent::Event(event) => {
                    let event = self.offered(&arrival, event);
                    events.push(((seq, arrival), event));
                }
                ArrivalContent::Dead(letter) => {
                    let answer = self.context.record(letter, &arrival);
                    self.tasks.notify(async move {
                        let answer = answer.await;
                        DeadLetterAnswered { generation, seq, arrival, answer }
                    });
                }
            }
        }
        for (offered, answer) in self.context.offer(events) {
            self.tasks.notify(async move { OffersAnswered { generation, offered, answer: answer.await } });
        }
    }

    fn offered(&self, arrival: &Arrival, event: &ArrivedEvent) -> OfferedEvent {
        OfferedEvent {
            link: self.context.link().clone(),
            arrived_as: ArrivedAs::Frame,
            receipt: arrival.receipt(),
            bot_id: event.bot_id.clone().or_else(|| self.params.bot_of(&event.event)),
            owner: self.context.owner().cloned(),
            buffer_id: arrival.buffer_id.clone(),
            digest: arrival.digest,
            event: Arc::clone(&event.event),
            raw_event: event.raw_event.clone(),
            descriptor: self.descriptor_of(&event.event.source.platform),
        }
    }

    fn answered(&mut self, generation: u64, seq: Seq, arrival: Arrival, taken: bool, ctx: &mut Context<Self>) {
        if !self.socket.is_open(generation) {
            return;
        }
        let (done, after) = self.arrivals.answered(seq, arrival, taken);
        for arrival in done {
            if let Some(buffer_id) = arrival.buffer_id {
                self.send_ack(buffer_id, Some(arrival.place));
            }
        }
        match after {
            NextAction::Nothing => {}
            NextAction::Pause => self.socket.pause(true),
            NextAction::Resume => self.socket.pause(false),
            NextAction::OfferNow => self.offer_again(generation),
            NextAction::OfferLater { round } => {
                self.socket.pause(true);
                let wait = self.context.timings().offer.delay(round, fastrand::f64());
                ctx.notify_later(OfferAgain { generation }, wait);
            }
        }
    }

    fn offer_again(&mut self, generation: u64) {
        if self.socket.is_open(generation) && self.arrivals.offer_again() {
            self.send_offers(generation);
        }
    }

    fn send_ack(&self, buffer_id: String, place: Option<OwnedSemaphorePermit>) {
        self.context.counts().acked(Instant::now());
        self.send_frame(&ToConnector::InboundAck { buffer_id }, "inbound_ack", place);
    }
}

impl StreamHandler<(u64, Vec<SocketEvent>)> for RelayActor {
    fn handle(&mut self, (generation, events): (u64, Vec<SocketEvent>), ctx: &mut Self::Context) {
        for event in events {
            // An event before this one may have closed the connection.
            if !self.socket.is_open(generation) {
                return;
            }
            self.handle_event(generation, event, ctx);
        }
        self.send_offers(generation);
    }

    // The end of one connection's events does not end the link.
    fn finished(&mut self, _: &mut Self::Context) {}
}

impl Handler<MediaFetched> for RelayActor {
    type Result = ();

    fn handle(&mut self, fetched: MediaFetched, _: &mut Self::Context) {
        let MediaFetched { generation, place, mut arrival, event, raw_event } = fetched;
        if !self.socket.is_open(generation) {
            return;
        }
        if let ArrivalContent::Event(fetched) = &mut arrival.content {
            (fetched.event, fetched.raw_event) = (event, raw_event);
        }
        self.arrivals.complete(place, arrival);
        self.send_offers(generation);
    }
}

impl Handler<OffersAnswered> for RelayActor {
    type Result = ();

    fn handle(&mut self, answered: OffersAnswered, ctx: &mut Self::Context) {
        let OffersAnswered { generation, offered, answer } = answered;
        let mut taken = self.context.taken(answer).into_iter();
        for (seq, arrival) in offered {
            self.answered(generation, seq, arrival, taken.next().unwrap_or(false), ctx);
        }
    }
}

impl Handler<DeadLetterAnswered> for RelayActor {
    type Result = ();

    fn handle(&mut self, answered: DeadLetterAnswered, ctx: &mut Self::Context) {
        let DeadLetterAnswered { generation, seq, arrival, answer } = answered;
        let taken = self.context.was_recorded(&arrival, answer);
        self.answered(generation, seq, arrival, taken, ctx);
    }
}

impl Handler<OfferAgain> for RelayActor {
    type Result = ();

    fn handle(&mut self, OfferAgain { generation }: OfferAgain, _: &mut Self::Context) {
        self.offer_again(generation);
    }
}
