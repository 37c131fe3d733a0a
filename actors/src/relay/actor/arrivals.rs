//! How a link carries out the steps of its plan, and how it handles the events of its connection.

use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tracing::{debug, warn};

use super::actor::RelayActor;
use super::arrival::{Arrival, ArrivalContent, ArrivedEvent};
use super::dead_letter::DeadLetter;
use super::descriptors::Descriptors;
use super::dial::{self, DialError, Socket};
use super::plan::LinkPlan;
use super::socket::{Connection, ConnectionArgs, SocketEvent};
use super::steps::{LinkStep, Loss, Prepared, plain};
use super::unacked::{NextAction, OfferAnswer, Seq, UnackedEvents};
use crate::http_client::UpgradeRefused;
use crate::in_order::InOrder;
use crate::profile::messages::{ConnectParams, NoConnectParams, PrepareDial};
use caduceus_contract::messages::dispatch::{NotRecorded, OfferEvents, OfferedEvent};
use caduceus_contract::messages::ledger::{LedgerError, Recorded};
use caduceus_contract::wire::descriptor::Descriptor;
use caduceus_contract::wire::event::InboundEvent;
use caduceus_contract::wire::frame::ToConnector;
use caduceus_contract::wire::url::RelayUrl;
use caduceus_supervision::AskError;

/// Most events of the connection that are handled, and offered to the dispatcher, together.
const EVENTS_BATCH: usize = 64;

impl RelayActor {
    pub(super) fn carry_out(&mut self, step: &LinkStep, ctx: &mut Context<Self>) {
        match *step {
            LinkStep::Prepare => {
                let answer = self.ports.profile.ask(PrepareDial, self.timings.prepare);
                ctx.spawn(answer.into_actor(self).map(|answer, link, ctx| link.prepared(answer, ctx)));
            }
            LinkStep::Dial { generation } => self.start_dial(generation, ctx),
            LinkStep::Hello => self.send_hello(),
            LinkStep::Ping => {
                if let Some(Err(reason)) = self.connection.as_ref().map(Connection::ping) {
                    debug!(link = %self.link.0, ?reason, "ping not sent");
                }
            }
            LinkStep::SendGoingIdle => self.send_frame(&ToConnector::GoingIdle, "going_idle", None),
            LinkStep::AnswerIdle(answer) => self.answer_idle(answer),
            LinkStep::Close(with) => {
                if let Some(dialling) = self.dialling.take() {
                    ctx.cancel_future(dialling);
                }
                if let Some(connection) = self.connection.take() {
                    // An event that the connector does not send again is not lost with the connection.
                    self.send_offers(connection.generation);
                    connection.close(with);
                }
                self.pending.fail_all();
                // The connector sends again the events that were not acknowledged.
                self.unacked = UnackedEvents::default();
                self.arrivals = InOrder::default();
            }
        }
    }

    fn prepared(&mut self, answer: Result<Result<ConnectParams, NoConnectParams>, AskError>, ctx: &mut Context<Self>) {
        // There is no socket now, so its claim is over.
        self.claim = None;
        let prepared = match answer {
            Ok(Ok(params)) => match self.may_dial(&params) {
                Ok(()) => {
                    let credentials = params.credentials;
                    self.warn_if_exposed(&params);
                    self.params = Some(params);
                    Prepared::Dialable { credentials }
                }
                Err(reason) => Prepared::Nothing(Some(reason)),
            },
            Ok(Err(NoConnectParams::NotSet)) => Prepared::Nothing(None),
            Ok(Err(reason @ NoConnectParams::Undialable(_))) => Prepared::Nothing(Some(reason.to_string())),
            Err(reason) => {
                debug!(link = %self.link.0, %reason, "profile did not answer");
                Prepared::Silent
            }
        };
        self.decide(ctx, |plan, at| plan.prepared(prepared, at));
    }

    fn may_dial(&mut self, params: &ConnectParams) -> Result<(), String> {
        RelayUrl::new(&params.url).dialable().map_err(|reason| reason.to_string())?;
        if let Some(gateway) = &params.gateway {
            let claim = self.claims.take(&self.owner, gateway.clone()).map_err(|reason| reason.to_string())?;
            self.claim = Some(claim);
        }
        Ok(())
    }

    /// Closes the link when another link takes precedence for the gateway that it has open.
    pub(super) fn watch_claims(&mut self, ctx: &mut Context<Self>) {
        let changes = stream::unfold(self.claims.changes(), |mut changes| async move {
            changes.changed().await.ok().map(|()| ((), changes))
        });
        let watching = changes.into_actor(self).map(|(), link: &mut Self, ctx| {
            if link.claims.is_evicted(&link.owner) {
                link.decide(ctx, LinkPlan::evicted);
                link.claim = None;
            }
        });
        ctx.spawn(watching.finish());
    }

    /// Once per address.
    fn warn_if_exposed(&self, params: &ConnectParams) {
        let is_new = self.params.as_ref().is_none_or(|before| before.url != params.url);
        if is_new && RelayUrl::new(&params.url).is_exposed() {
            warn!(link = %self.link.0, "the connector is dialled without TLS: the network can read every message; use wss://");
        }
    }

    fn start_dial(&mut self, generation: u64, ctx: &mut Context<Self>) {
        let Some(params) = &self.params else { return };
        self.counts.dial();
        let (url, token) = (RelayUrl::new(&params.url).dial().to_owned(), params.token.clone());
        let client = self.client.clone();
        let slot = Arc::clone(&self.slot).acquire_owned();
        let dialled = async move {
            let slot = slot.await.expect("the slot is never closed");
            (dial::dial(client, url, token).await, slot)
        };
        self.dialling = Some(ctx.spawn(dialled.into_actor(self).map(move |(outcome, slot), link, ctx| {
            link.dialling = None;
            link.dialled(generation, outcome, slot, ctx);
        })));
    }

    fn dialled(
        &mut self,
        generation: u64,
        outcome: Result<Socket, DialError>,
        slot: OwnedSemaphorePermit,
        ctx: &mut Context<Self>,
    ) {
        match outcome {
            Ok(socket) => {
                let places = Arc::clone(&self.places);
                let close_timeout = self.timings.close_timeout;
                let (connection, events) =
                    Connection::open(socket, ConnectionArgs { generation, slot, places, close_timeout });
                self.connection = Some(connection);
                let events = stream::unfold(events, move |mut events| async move {
                    let mut batch = Vec::new();
                    (events.recv_many(&mut batch, EVENTS_BATCH).await > 0).then_some(((generation, batch), events))
                });
                ctx.add_stream(events);
                self.decide(ctx, |plan, at| plan.dialled(generation, at));
            }
            Err(error) => {
                drop(slot);
                let loss = match &error {
                    DialError::Refused(refused) if matches!(refused.status.as_u16(), 401 | 403) => {
                        Loss::Unauthorized { reason: error.to_string() }
                    }
                    DialError::Refused(UpgradeRefused { status, retry_after: Some(wait) })
                        if matches!(status.as_u16(), 429 | 503) =>
                    {
                        Loss::WaitRequested { reason: error.to_string(), wait: *wait }
                    }
                    _ => Loss::Other(plain(&error.to_string())),
                };
                self.decide(ctx, |plan, at| plan.lost(generation, &loss, at));
            }
        }
    }

    fn send_hello(&mut self) {
        self.descriptors = Descriptors::named(self.identities().iter().map(|identity| identity.platform.as_str()));
        for identity in self.identities().to_vec() {
            let hello = ToConnector::Hello { platform: identity.platform, bot_id: identity.bot_id };
            self.send_frame(&hello, "hello", None);
        }
    }

    fn send_frame(&mut self, frame: &ToConnector, kind: &'static str, place: Option<OwnedSemaphorePermit>) {
        let Some(connection) = &self.connection else { return };
        match connection.send_frame(frame.to_line(), place) {
            Ok(()) => self.counts.frame(kind),
            // The connection is closing, or its peer reads nothing and will time out.
            Err(reason) => debug!(link = %self.link.0, kind, ?reason, "frame not sent"),
        }
    }

    /// A complete event is offered to the dispatcher by the next [`RelayActor::send_offers`], unless earlier ones wait.
    pub(super) fn accept(&mut self, arrival: Arrival) {
        self.to_offer.extend(self.unacked.arrived(arrival));
    }

    /// Sends the events to the dispatcher, in one message, and the dead letters to the ledger; `answered` receives each answer.
    pub(super) fn send_offers(&mut self, generation: u64) {
        let (mut offered, mut events) = (Vec::new(), Vec::new());
        for (seq, arrival) in std::mem::take(&mut self.to_offer) {
            match &arrival.content {
                ArrivalContent::Event(event) => {
                    events.push(self.offered(&arrival, event));
                    offered.push((seq, arrival));
                }
                ArrivalContent::Dead(letter) => {
                    let (link, buffer_id) = (self.link.clone(), arrival.buffer_id.clone());
                    let record = letter.record(link, self.profile.clone(), buffer_id, arrival.digest);
                    let answer = self.ports.ledger.ask(record, self.timings.take);
                    self.tasks.spawn(answer, move |answer, link, ctx| {
                        let taken = link.was_recorded(&arrival, answer);
                        link.answered(generation, seq, arrival, taken, ctx);
                    });
                }
            }
        }
        if events.is_empty() {
            return;
        }
        let answer = self.ports.dispatch.ask(OfferEvents(events), self.timings.take);
        self.tasks.spawn(answer, move |answer, link, ctx| {
            let mut answers = link.taken(answer).into_iter();
            for (seq, arrival) in offered {
                link.answered(generation, seq, arrival, answers.next().unwrap_or(false), ctx);
            }
        });
    }

    fn offered(&self, arrival: &Arrival, event: &ArrivedEvent) -> OfferedEvent {
        OfferedEvent {
            link: self.link.clone(),
            bot_id: event.bot_id.clone().or_else(|| self.bot_of(&event.event)),
            owner: self.owner.clone(),
            buffer_id: arrival.buffer_id.clone(),
            digest: arrival.digest,
            event: Arc::clone(&event.event),
            raw_event: event.raw_event.clone(),
            descriptor: self.descriptor_of(&event.event.source.platform),
        }
    }

    /// Whether each offered event was taken; none was if there is no answer.
    fn taken(&self, answer: Result<Vec<Result<(), NotRecorded>>, AskError>) -> Vec<bool> {
        match answer {
            Ok(answers) => answers.iter().map(Result::is_ok).collect(),
            Err(reason) => {
                debug!(link = %self.link.0, %reason, "dispatcher did not answer");
                Vec::new()
            }
        }
    }

    fn was_recorded(&mut self, arrival: &Arrival, answer: Result<Result<Recorded, LedgerError>, AskError>) -> bool {
        let error = match answer {
            Ok(Ok(recorded)) => {
                if let (Recorded::New(row), ArrivalContent::Dead(letter)) = (recorded, &arrival.content) {
                    self.counts.dead_letter();
                    let DeadLetter { reason, bytes, .. } = letter;
                    warn!(link = %self.link.0, row = row.0, bytes, reason, "frame kept as a dead letter");
                    self.ports.status.report();
                }
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        debug!(link = %self.link.0, error, "dead letter not written, will be tried again");
        false
    }

    fn answered(&mut self, generation: u64, seq: Seq, arrival: Arrival, taken: bool, ctx: &mut Context<Self>) {
        if self.connection.as_ref().is_none_or(|connection| connection.generation != generation) {
            return;
        }
        let answer = if taken { OfferAnswer::Taken(arrival) } else { OfferAnswer::Refused(arrival) };
        let (done, after) = self.unacked.answered(seq, answer);
        for arrival in done {
            self.acknowledge(arrival);
        }
        match after {
            NextAction::Nothing => {}
            NextAction::Pause => self.pause(true),
            NextAction::Resume => self.pause(false),
            NextAction::OfferNow => self.offer_again(generation),
            NextAction::OfferLater { round } => {
                self.pause(true);
                let wait = self.timings.offer.delay(round, fastrand::f64());
                ctx.run_later(wait, move |link, _| link.offer_again(generation));
            }
        }
    }

    fn offer_again(&mut self, generation: u64) {
        if self.connection.as_ref().is_some_and(|connection| connection.generation == generation)
            && let Some(offer) = self.unacked.offer_again()
        {
            self.to_offer.push(offer);
            self.send_offers(generation);
        }
    }

    fn acknowledge(&mut self, arrival: Arrival) {
        if let Some(buffer_id) = arrival.buffer_id {
            self.send_ack(buffer_id, Some(arrival.place));
        }
    }

    fn send_ack(&mut self, buffer_id: String, place: Option<OwnedSemaphorePermit>) {
        self.counts.acked(Instant::now());
        self.send_frame(&ToConnector::InboundAck { buffer_id }, "inbound_ack", place);
    }

    fn pause(&self, paused: bool) {
        if let Some(connection) = &self.connection {
            connection.pause(paused);
        }
    }

    /// The bot that an event was addressed to, where the link has several.
    pub(super) fn bot_of(&self, event: &InboundEvent) -> Option<String> {
        let identity = self.identity_of(&event.source.platform).filter(|_| self.identities().len() > 1)?;
        Some(identity.bot_id.clone()).filter(|id| !id.is_empty())
    }

    /// The capabilities of the platform of an event; `None` while they are unknown or the link is down.
    pub(super) fn descriptor_of(&self, platform: &str) -> Option<Arc<Descriptor>> {
        let known = Descriptor::of(self.descriptors.all(), platform).filter(|_| self.plan.is_up())?;
        (known.platform == platform || self.is_described()).then(|| known.clone())
    }

    pub(super) fn skipped(&mut self, reason: &str) {
        if let Some(skipped) = self.counts.skip(Instant::now()) {
            warn!(link = %self.link.0, reason, skipped, "line from the connector skipped");
        }
        self.ports.status.report();
    }
}

impl RelayActor {
    fn handle_event(&mut self, generation: u64, event: SocketEvent, ctx: &mut Context<Self>) {
        if let Some(kind) = event.frame_kind() {
            self.counts.frame(kind);
            self.counts.inbound(Instant::now());
        }
        match event {
            SocketEvent::Arrived(arrival) => self.arrived(generation, *arrival, ctx),
            SocketEvent::Frame(frame) => self.handle_frame(generation, *frame, ctx),
            SocketEvent::AckRequested(buffer_id) => self.send_ack(buffer_id, None),
            SocketEvent::Unknown => {}
            SocketEvent::Skipped(reason) => self.skipped(&reason),
            SocketEvent::Ended(loss) => self.decide(ctx, |plan, at| plan.lost(generation, &loss, at)),
        }
    }
}

impl StreamHandler<(u64, Vec<SocketEvent>)> for RelayActor {
    fn handle(&mut self, (generation, events): (u64, Vec<SocketEvent>), ctx: &mut Self::Context) {
        for event in events {
            // An event before this one may have closed the connection.
            if self.connection.as_ref().is_none_or(|connection| connection.generation != generation) {
                return;
            }
            self.handle_event(generation, event, ctx);
        }
        self.send_offers(generation);
    }

    // The end of one connection's events does not end the link.
    fn finished(&mut self, _: &mut Self::Context) {}
}

impl SocketEvent {
    /// The kind of its frame, as counted in the view.
    fn frame_kind(&self) -> Option<&'static str> {
        Some(match self {
            Self::Frame(frame) => frame.kind(),
            Self::Arrived(arrival) => match &arrival.content {
                ArrivalContent::Event(ArrivedEvent { forwarded: true, .. }) => "passthrough_forward",
                ArrivalContent::Event(_) => "inbound",
                ArrivalContent::Dead(_) => return None,
            },
            Self::Unknown => "unknown",
            Self::AckRequested(_) | Self::Skipped(_) | Self::Ended(_) => return None,
        })
    }
}
