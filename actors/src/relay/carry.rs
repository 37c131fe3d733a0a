//! How a link carries out the steps of its plan, and what it makes of the news of its connection.

use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tracing::{debug, warn};

use super::actor::RelayActor;
use super::arrival::Arrival;
use super::descriptor::Descriptor;
use super::dial::{self, DialError, Socket};
use super::event::InboundEvent;
use super::frame::ToConnector;
use super::intake::{After, Answer, Intake, Seq};
use super::lineup::Lineup;
use super::session::names_session_of;
use super::socket::{Connection, News, Opening};
use super::steps::{Loss, Prepared, Step};
use super::url::RelayUrl;
use crate::dispatch::messages::{Inbound, NotTaken, Receipt, StopSession};
use crate::profile::messages::{Dial, NoDial, PrepareDial};
use crate::supervision::AskError;
use crate::turn::messages::StopCause;

impl RelayActor {
    pub(super) fn carry_out(&mut self, step: &Step, ctx: &mut Context<Self>) {
        match *step {
            Step::Prepare => {
                let answer = self.ports.profile.ask(PrepareDial, self.timings.prepare);
                ctx.spawn(answer.into_actor(self).map(|answer, link, ctx| link.prepared(answer, ctx)));
            }
            Step::Dial { generation } => self.start_dial(generation, ctx),
            Step::Hello => self.say_hello(),
            Step::Ping => {
                if let Some(Err(reason)) = self.connection.as_ref().map(Connection::ping) {
                    debug!(link = %self.link.0, ?reason, "no ping was sent");
                }
            }
            Step::SayGoingIdle => self.say(&ToConnector::GoingIdle, "going_idle", None),
            Step::AnswerIdle(answer) => self.answer_idle(answer),
            Step::Close(with) => {
                if let Some(dialling) = self.dialling.take() {
                    ctx.cancel_future(dialling);
                }
                if let Some(connection) = self.connection.take() {
                    connection.close(with);
                }
                self.waiting.lose_all();
                // The connector sends again what was not acknowledged.
                self.intake = Intake::default();
                self.lineup = Lineup::default();
            }
        }
    }

    fn prepared(&mut self, answer: Result<Result<Dial, NoDial>, AskError>, ctx: &mut Context<Self>) {
        let prepared = match answer {
            Ok(Ok(dial)) => match RelayUrl::new(&dial.url).dialable() {
                Ok(()) => {
                    let credentials = dial.credentials;
                    self.warn_if_exposed(&dial);
                    self.dial = Some(dial);
                    Prepared::Dialable { credentials }
                }
                Err(reason) => Prepared::Nothing(Some(reason.to_string())),
            },
            Ok(Err(NoDial::NotSet)) => Prepared::Nothing(None),
            Ok(Err(reason @ NoDial::Undialable(_))) => Prepared::Nothing(Some(reason.to_string())),
            Err(reason) => {
                debug!(link = %self.link.0, %reason, "the profile did not answer");
                Prepared::Silent
            }
        };
        self.decide(ctx, |plan, at| plan.prepared(prepared, at));
    }

    /// Once for each address.
    fn warn_if_exposed(&self, dial: &Dial) {
        let news = self.dial.as_ref().is_none_or(|before| before.url != dial.url);
        if news && RelayUrl::new(&dial.url).is_exposed() {
            warn!(link = %self.link.0, "the connector is dialled without TLS: the network can read every message; use wss://");
        }
    }

    fn start_dial(&mut self, generation: u64, ctx: &mut Context<Self>) {
        let Some(dial) = &self.dial else { return };
        self.counts.dial();
        let (url, token) = (RelayUrl::new(&dial.url).dial().to_owned(), dial.token.clone());
        let trust = self.trust.clone();
        let slot = Arc::clone(&self.slot).acquire_owned();
        let dialled = async move {
            let slot = slot.await.expect("the slot is never closed");
            (dial::dial(trust, url, token).await, slot)
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
                let farewell = self.timings.farewell;
                let (connection, news) = Connection::open(socket, Opening { generation, slot, places, farewell });
                self.connection = Some(connection);
                let news = stream::unfold(news, move |mut news| async move {
                    news.recv().await.map(|item| ((generation, item), news))
                });
                ctx.add_stream(news);
                self.decide(ctx, |plan, at| plan.dialled(generation, at));
            }
            Err(error) => {
                drop(slot);
                let loss = match &error {
                    DialError::Refused(status) if matches!(status.as_u16(), 401 | 403) => {
                        Loss::Unauthorized { reason: error.to_string() }
                    }
                    _ => Loss::Other(error.to_string()),
                };
                self.decide(ctx, |plan, at| plan.lost(generation, &loss, at));
            }
        }
    }

    fn say_hello(&mut self) {
        self.descriptors.clear();
        for identity in self.identities().to_vec() {
            let hello = ToConnector::Hello { platform: identity.platform, bot_id: identity.bot_id };
            self.say(&hello, "hello", None);
        }
    }

    fn say(&mut self, frame: &ToConnector, kind: &'static str, place: Option<OwnedSemaphorePermit>) {
        let Some(connection) = &self.connection else { return };
        match connection.say(frame.to_line(), place) {
            Ok(()) => self.counts.frame(kind),
            // The connection is on its way out, or its peer reads nothing and will be found dead.
            Err(reason) => debug!(link = %self.link.0, kind, ?reason, "a frame was not sent"),
        }
    }

    /// An event is whole; it goes to the dispatcher when its turn comes.
    pub(super) fn take_in(&mut self, generation: u64, arrival: Arrival, ctx: &mut Context<Self>) {
        if let Some((seq, arrival)) = self.intake.arrived(arrival) {
            self.offer(generation, seq, arrival, ctx);
        }
    }

    /// Hands one event to the dispatcher; its answer comes back to `answered`.
    fn offer(&self, generation: u64, seq: Seq, arrival: Arrival, ctx: &mut Context<Self>) {
        let inbound = Inbound {
            link: self.link.clone(),
            bot_id: arrival.bot_id.clone().or_else(|| self.bot_of(&arrival.event)),
            owner: self.owner.clone(),
            buffer_id: arrival.buffer_id.clone(),
            digest: arrival.digest,
            event: Arc::clone(&arrival.event),
            raw_event: Arc::clone(&arrival.raw_event),
            descriptor: self.descriptor_of(&arrival.event.source.platform),
        };
        let answer = self.ports.dispatch.ask(inbound, self.timings.take);
        ctx.spawn(answer.into_actor(self).map(move |answer, link, ctx| {
            link.answered(generation, seq, arrival, answer, ctx);
        }));
    }

    fn answered(
        &mut self,
        generation: u64,
        seq: Seq,
        arrival: Arrival,
        answer: Result<Result<Receipt, NotTaken>, AskError>,
        ctx: &mut Context<Self>,
    ) {
        if self.connection.as_ref().is_none_or(|connection| connection.generation != generation) {
            return;
        }
        let answer = match answer {
            Ok(Ok(Receipt::Taken | Receipt::Duplicate | Receipt::Refused | Receipt::Handled)) => Answer::Taken(arrival),
            Ok(Err(NotTaken::LedgerUnavailable)) => Answer::Refused(arrival),
            Err(reason) => {
                debug!(link = %self.link.0, %reason, "the dispatcher did not answer");
                Answer::Refused(arrival)
            }
        };
        let (done, after) = self.intake.answered(seq, answer);
        for arrival in done {
            self.acknowledge(arrival);
        }
        match after {
            After::Nothing => {}
            After::Pause => self.pause(true),
            After::Resume => self.pause(false),
            After::OfferNow => self.offer_again(generation, ctx),
            After::OfferLater { round } => {
                self.pause(true);
                let wait = self.timings.offer.delay(round, fastrand::f64());
                ctx.run_later(wait, move |link, ctx| link.offer_again(generation, ctx));
            }
        }
    }

    fn offer_again(&mut self, generation: u64, ctx: &mut Context<Self>) {
        if self.connection.as_ref().is_some_and(|connection| connection.generation == generation)
            && let Some((seq, arrival)) = self.intake.offer_again()
        {
            self.offer(generation, seq, arrival, ctx);
        }
    }

    fn acknowledge(&mut self, arrival: Arrival) {
        if let Some(buffer_id) = arrival.buffer_id {
            self.counts.acked(Instant::now());
            self.say(&ToConnector::InboundAck { buffer_id }, "inbound_ack", Some(arrival.place));
        }
    }

    fn pause(&self, paused: bool) {
        if let Some(connection) = &self.connection {
            connection.pause(paused);
        }
    }

    /// The bot that an event was addressed to, where several are fronted.
    pub(super) fn bot_of(&self, event: &InboundEvent) -> Option<String> {
        let identity = self.identity_of(&event.source.platform).filter(|_| self.identities().len() > 1)?;
        Some(identity.bot_id.clone()).filter(|id| !id.is_empty())
    }

    pub(super) fn descriptor_of(&self, platform: &str) -> Descriptor {
        let named = self.descriptors.iter().find(|descriptor| descriptor.platform == platform);
        named.or(self.descriptors.first()).cloned().unwrap_or_default()
    }

    fn described(&mut self, generation: u64, descriptor: Descriptor, ctx: &mut Context<Self>) {
        match self.descriptors.iter_mut().find(|known| known.platform == descriptor.platform) {
            Some(known) => *known = descriptor,
            None => self.descriptors.push(descriptor),
        }
        self.touch_status();
        let was_up = self.plan.is_up();
        self.decide(ctx, |plan, at| {
            plan.described(generation, at);
            Vec::new()
        });
        if self.plan.is_up() && !was_up {
            self.declare_policies(ctx);
        }
    }

    /// A link of a profile's own reaches that profile's sessions only.
    fn may_stop(&self, session_key: &str) -> bool {
        self.owner.as_ref().is_none_or(|owner| names_session_of(session_key, owner))
    }

    fn skipped(&mut self, reason: &str) {
        if let Some(skipped) = self.counts.skip(Instant::now()) {
            warn!(link = %self.link.0, reason, skipped, "a line from the connector was skipped");
        }
        self.touch_status();
    }
}

impl StreamHandler<(u64, News)> for RelayActor {
    fn handle(&mut self, (generation, news): (u64, News), ctx: &mut Self::Context) {
        if self.connection.as_ref().is_none_or(|connection| connection.generation != generation) {
            return;
        }
        if let Some(kind) = news.frame_kind() {
            self.counts.frame(kind);
            self.counts.inbound(Instant::now());
        }
        match news {
            News::Described(descriptor) => self.described(generation, *descriptor, ctx),
            News::Arrived(arrival) => self.arrived(generation, *arrival, ctx),
            News::Result { request_id, result } => {
                if !self.waiting.settle(&request_id, result) {
                    debug!(link = %self.link.0, "a result came for nobody");
                }
            }
            News::Interrupted { session_key } if !self.may_stop(&session_key) => {
                warn!(link = %self.link.0, "an interrupt for another profile's session was dropped");
            }
            News::Interrupted { session_key } => {
                let stop = StopSession { session_key, cause: StopCause::Interrupt };
                if let Err(error) = self.ports.stop_session.tell(stop) {
                    warn!(link = %self.link.0, %error, "an interrupt was lost");
                }
            }
            News::IdleAcked => self.decide(ctx, |plan, at| plan.idle_acked(generation, at)),
            News::Unknown => {}
            News::Skipped(reason) => self.skipped(&reason),
            News::Ended(loss) => self.decide(ctx, |plan, at| plan.lost(generation, &loss, at)),
        }
    }

    // The end of one connection's news is not the end of the link.
    fn finished(&mut self, _: &mut Self::Context) {}
}

impl News {
    /// The frame it came from, as the view counts it.
    fn frame_kind(&self) -> Option<&'static str> {
        Some(match self {
            Self::Described(_) => "descriptor",
            Self::Arrived(arrival) if arrival.forwarded => "passthrough_forward",
            Self::Arrived(_) => "inbound",
            Self::Result { .. } => "outbound_result",
            Self::Interrupted { .. } => "interrupt_inbound",
            Self::IdleAcked => "going_idle_ack",
            Self::Unknown => "unknown",
            Self::Skipped(_) | Self::Ended(_) => return None,
        })
    }
}
