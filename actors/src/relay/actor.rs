//! One link to the connector: dials it, reads it, writes to it, reports its changes of state.
//!
//! Owns the socket, the pending sends and the events that the dispatcher has not answered yet. Asks its profile what to
//! dial, passes events to the dispatcher, reports every change of state to the listed ports. Independent of turns and of
//! other links. A restart loses the connection: pending sends are answered `ambiguous`, the connector sends again the events that were not
//! acknowledged, and revoked credentials are dialled once more.

mod arrivals; // The events of the connection.
mod deliveries; // Signed deliveries over HTTP.
mod dialling; // The profile's answer, the dial, the hello.
mod frames; // The frames that carry no event.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::OwnedSemaphorePermit;
use tracing::debug;
use uuid::Uuid;

use super::arrival_queue::ArrivalQueue;
use super::context::LinkContext;
use super::descriptors::Descriptors;
use super::driver::LinkDriver;
use super::link_socket::LinkSocket;
use super::media::Fetcher;
use super::params::LinkParams;
use super::pending::{NOT_CONNECTED, QUEUE_FULL};
use super::plan::LinkPlan;
use super::ports::RelayPorts;
use super::settings::LinkSettings;
use super::socket::NotQueued;
use super::steps::{At, CloseWith, Idleness, LinkStep};
use caduceus_contract::messages::relay::{
    GetLink, GoDormant, GoIdle, IdleAnswer, LinkState, LinkView, ResendLinkState, SendAction, Wake,
};
use caduceus_contract::time::millis;
use caduceus_contract::wire::action_result::{ActionResult, NotSent};
use caduceus_contract::wire::descriptor::Descriptor;
use caduceus_contract::wire::frame::{ToConnector, outbound_line};
use caduceus_supervision::{ActorTasks, Incarnation, ResponseFuture};

/// Period of the search for old media.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

/// Carries out what its plan decides for one link.
pub struct RelayActor {
    /// Its name, the other actors, the client and the counters.
    context: LinkContext,
    /// The plan, with its clock and its timer.
    driver: LinkDriver,
    /// What to dial.
    params: LinkParams,
    /// The connection, and the actions sent over it.
    socket: LinkSocket,
    /// The events received over it.
    arrivals: ArrivalQueue,
    /// What the connector described over it.
    descriptors: Descriptors,
    fetcher: Fetcher,
    /// Requests to other actors, and calls of the connector.
    tasks: ActorTasks<Self>,
    incarnation: Incarnation,
}

/// The plan's next action is due.
#[derive(Message)]
#[rtype(result = "()")]
struct PlanDue;

impl RelayActor {
    /// A link that dials as soon as it is started.
    #[must_use]
    pub fn new(ports: RelayPorts, settings: LinkSettings, incarnation: Incarnation) -> Self {
        let context = LinkContext::new(ports.clone(), &settings);
        let LinkSettings { owner, claims, timings, client, media, .. } = settings;
        Self {
            context,
            params: LinkParams::new(claims, owner),
            socket: LinkSocket::new(&timings),
            arrivals: ArrivalQueue::new(),
            descriptors: Descriptors::default(),
            fetcher: Fetcher::new(ports.profile, timings.prepare, client, media),
            driver: LinkDriver::new(timings),
            tasks: ActorTasks::default(),
            incarnation,
        }
    }

    /// Lets the plan decide and carries out its steps. All changes of state go through here.
    fn decide(&mut self, ctx: &mut Context<Self>, decide: impl FnOnce(&mut LinkPlan, At) -> Vec<LinkStep>) {
        let Some(decision) = self.driver.decide(self.socket.last_seen(), decide) else { return };
        for step in &decision.steps {
            self.carry_out(step, ctx);
        }
        if decision.changed {
            self.context.log_state(self.driver.state(), self.driver.last_error());
            self.send_change(None);
            self.context.report();
        }
        let timer = self.driver.due_in().map(|wait| ctx.notify_later(PlanDue, wait));
        if let Some(former) = self.driver.set_timer(timer) {
            ctx.cancel_future(former);
        }
    }

    fn carry_out(&mut self, step: &LinkStep, ctx: &mut Context<Self>) {
        match *step {
            LinkStep::Prepare => self.prepare(),
            LinkStep::Dial { generation } => self.start_dial(generation, ctx),
            LinkStep::Hello => self.send_hello(),
            LinkStep::Ping => {
                if let Some(Err(reason)) = self.socket.ping() {
                    debug!(link = %self.context.link().0, ?reason, "ping not sent");
                }
            }
            LinkStep::SendGoingIdle => self.send_frame(&ToConnector::GoingIdle, "going_idle", None),
            LinkStep::AnswerIdle(answer) => self.driver.answer_idle(answer),
            LinkStep::Close(with) => {
                if let Some(generation) = self.socket.generation() {
                    // An event that the connector does not send again is not lost with the connection.
                    self.send_offers(generation);
                }
                if let Some(dialling) = self.socket.close(with) {
                    ctx.cancel_future(dialling);
                }
                self.arrivals.clear();
            }
        }
    }

    /// `to`: the number of the only dispatcher that receives it.
    fn send_change(&self, to: Option<usize>) {
        let state = self.driver.state();
        let known = state == LinkState::Connected && self.descriptors.is_complete();
        self.context.send_change(state, known.then(|| Arc::from(self.descriptors.all())), to);
    }

    fn send_frame(&self, frame: &ToConnector, kind: &'static str, place: Option<OwnedSemaphorePermit>) {
        match self.socket.send_frame(frame.to_line(), place) {
            Some(Ok(())) => self.context.counts().frame(kind),
            // The connection is closing, or its peer reads nothing and will time out.
            Some(Err(reason)) => debug!(link = %self.context.link().0, kind, ?reason, "frame not sent"),
            None => {}
        }
    }

    /// The capabilities of the platform of an event; `None` while they are unknown or the link is down.
    fn descriptor_of(&self, platform: &str) -> Option<Arc<Descriptor>> {
        if self.driver.is_up() { self.descriptors.of(platform) } else { None }
    }

    fn sweep_media(&mut self, _: &mut Context<Self>) {
        let fetcher = self.fetcher.clone();
        self.tasks.run(async move { fetcher.sweep().await });
    }

    fn go_idle(&mut self, how: Idleness, ctx: &mut Context<Self>) -> ResponseFuture<IdleAnswer> {
        let answer = self.driver.wait_for_idle();
        self.decide(ctx, |plan, at| plan.go_idle(how, at));
        // A link that is stopping, or whose actor has stopped, counts as not connected.
        ResponseFuture::new(async move { answer.await.unwrap_or(IdleAnswer::NotConnected) })
    }
}

impl Actor for RelayActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The start does not depend on the connector.
        self.tasks.attach(ctx);
        self.incarnation.ready();
        self.sweep_media(ctx);
        self.watch_claims(ctx);
        ctx.run_interval(SWEEP_EVERY, Self::sweep_media);
        self.decide(ctx, LinkPlan::start);
    }

    fn stopping(&mut self, ctx: &mut Self::Context) -> Running {
        if !self.driver.stop() {
            return Running::Stop;
        }
        self.driver.answer_idle(IdleAnswer::NotConnected);
        let was_open = self.socket.generation().is_some();
        self.socket.close(CloseWith::Away);
        if !was_open {
            return Running::Stop;
        }
        // The closing handshake is completed first.
        ctx.spawn(self.socket.acquire_slot().into_actor(self).map(|_, _, ctx| ctx.stop()));
        Running::Continue
    }
}

impl Handler<PlanDue> for RelayActor {
    type Result = ();

    fn handle(&mut self, _: PlanDue, ctx: &mut Self::Context) {
        self.driver.set_timer(None);
        self.decide(ctx, LinkPlan::tick);
    }
}

impl Handler<SendAction> for RelayActor {
    type Result = ResponseFuture<ActionResult>;

    fn handle(&mut self, message: SendAction, _: &mut Self::Context) -> Self::Result {
        let refuse =
            |reason: NotSent, why: &str| -> Self::Result { ResponseFuture::ready(ActionResult::not_sent(reason, why)) };
        if !self.driver.is_up() {
            return refuse(NotSent::NoLink, NOT_CONNECTED);
        }
        let request_id = Uuid::new_v4().simple().to_string();
        let (platform, bot_id) = self.params.address(&message.target);
        let line = outbound_line(&request_id, &message.action, platform, bot_id);
        match self.socket.send(request_id, line) {
            Ok(answer) => {
                self.context.counts().frame("outbound");
                ResponseFuture::new(answer)
            }
            Err(NotQueued::Full) => refuse(NotSent::QueueFull, QUEUE_FULL),
            Err(NotQueued::Ending) => refuse(NotSent::NoLink, NOT_CONNECTED),
        }
    }
}

impl Handler<GoIdle> for RelayActor {
    type Result = ResponseFuture<IdleAnswer>;

    fn handle(&mut self, _: GoIdle, ctx: &mut Self::Context) -> Self::Result {
        self.go_idle(Idleness::Leaving, ctx)
    }
}

impl Handler<GoDormant> for RelayActor {
    type Result = ResponseFuture<IdleAnswer>;

    fn handle(&mut self, _: GoDormant, ctx: &mut Self::Context) -> Self::Result {
        self.go_idle(Idleness::Dormant, ctx)
    }
}

impl Handler<Wake> for RelayActor {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Self::Context) {
        self.decide(ctx, LinkPlan::wake);
    }
}

impl Handler<ResendLinkState> for RelayActor {
    type Result = ();

    fn handle(&mut self, ResendLinkState { dispatcher }: ResendLinkState, _: &mut Self::Context) {
        self.send_change(Some(dispatcher));
    }
}

impl Handler<GetLink> for RelayActor {
    type Result = MessageResult<GetLink>;

    fn handle(&mut self, _: GetLink, _: &mut Self::Context) -> Self::Result {
        let now = Instant::now();
        let age = |then: Instant| millis(now.saturating_duration_since(then));
        let counts = self.context.counts().get();
        let platforms: BTreeSet<&String> = self.params.identities().iter().map(|identity| &identity.platform).collect();
        let mut view = LinkView {
            generation: counts.dials,
            last_inbound_age_ms: counts.last_inbound.map(age),
            last_ack_age_ms: counts.last_ack.map(age),
            frames: counts.frames,
            skipped: counts.skipped,
            dead_letters: counts.dead_letters,
            waiting: self.socket.pending(),
            platforms: platforms.into_iter().cloned().collect(),
            descriptors: self.descriptors.all().to_vec(),
            ..LinkView::not_reported(self.context.link().clone())
        };
        self.driver.fill(&mut view);
        MessageResult(view)
    }
}

#[cfg(test)]
#[path = "actor_tests/mod.rs"]
mod tests;
