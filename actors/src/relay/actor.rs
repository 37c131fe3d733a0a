//! One link to the connector: dials it, reads it, writes to it, reports its changes of state.
//!
//! Owns the socket, the pending sends and the events that the dispatcher has not answered yet. Asks its profile what to
//! dial, passes events to the dispatcher, reports every change of state to the listed ports. Independent of turns and of
//! other links. A restart loses the connection: pending sends are answered `ambiguous`, the connector sends again the events that were not
//! acknowledged, and revoked credentials are dialled once more.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::{Semaphore, oneshot};
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::arrival::{Arrival, PLACES};
use super::claims::{Claims, GatewayClaim};
use super::counts::LinkCounts;
use super::descriptors::Descriptors;
use super::media::Fetcher;
use super::pending::{NOT_CONNECTED, PendingSends, QUEUE_FULL};
use super::plan::LinkPlan;
use super::socket::{Connection, NotQueued};
use super::steps::{At, CloseWith, Idleness, LinkStep};
use super::timings::LinkTimings;
use super::unacked::{Seq, UnackedEvents};
use crate::clock::Clock;
use crate::http_client::HttpClient;
use crate::in_order::InOrder;
use crate::profile::messages::{ConnectParams, Identity, PrepareDial};
use crate::status::changes::StatusChanges;
use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::messages::dispatch::{OfferEvents, StopSession};
use caduceus_contract::messages::ledger::RecordInbound;
use caduceus_contract::messages::relay::{
    GetLink, GoDormant, GoIdle, IdleAnswer, LinkChanged, LinkState, LinkView, ResendLinkState, SendAction, Wake,
};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::action_result::{ActionResult, NotSent};
use caduceus_contract::wire::event::RELAY;
use caduceus_contract::wire::frame::ToConnector;
use caduceus_supervision::{ActorTasks, Incarnation, Port, ResponseFuture};

/// Period of the search for old media.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

/// Where a link sends its messages.
#[derive(Debug, Clone)]
pub struct RelayPorts {
    /// Answers what to dial, before each dial.
    pub profile: Port<PrepareDial>,
    /// Receives the events.
    pub dispatch: Port<OfferEvents>,
    /// Stores frames that cannot be used.
    pub ledger: Port<RecordInbound>,
    /// Stops a session.
    pub stop_session: Port<StopSession>,
    /// Receive every change of state, in order.
    pub changes: Vec<Port<LinkChanged>>,
    /// Receives a notification when the status has changed.
    pub status: StatusChanges,
}

/// The arguments of a link.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// Its id.
    pub link: LinkId,
    /// The profile that owns it, for a link of a profile's own.
    pub owner: Option<ProfileName>,
    /// The profile whose settings it dials with.
    pub profile: ProfileName,
    /// Which link serves which gateway.
    pub claims: Claims,
    /// Its timeouts and intervals.
    pub timings: LinkTimings,
    /// The client for its connection and its calls.
    pub client: HttpClient,
    /// The folder for media that the connector hosts.
    pub media: PathBuf,
    /// Its counters; they outlive the actor.
    pub counts: LinkCounts,
}

/// Carries out what its plan decides for one link.
pub struct RelayActor {
    pub(super) link: LinkId,
    /// The profile that owns the link, for a link of a profile's own.
    pub(super) owner: Option<ProfileName>,
    pub(super) profile: ProfileName,
    pub(super) claims: Claims,
    /// Held while a gateway is dialled or open.
    pub(super) claim: Option<GatewayClaim>,
    pub(super) ports: RelayPorts,
    pub(super) timings: LinkTimings,
    pub(super) client: HttpClient,
    pub(super) fetcher: Fetcher,
    incarnation: Incarnation,
    pub(super) plan: LinkPlan,
    clock: Clock,
    /// The last answer of the profile.
    pub(super) params: Option<ConnectParams>,
    pub(super) dialling: Option<SpawnHandle>,
    pub(super) connection: Option<Connection>,
    /// One permit: a socket that is being closed delays the next one.
    pub(super) slot: Arc<Semaphore>,
    /// Places for arrivals, shared by all connections: arrivals of an older connection may still wait for an answer.
    pub(super) places: Arc<Semaphore>,
    pub(super) pending: PendingSends,
    /// Events offered to the dispatcher, and dead letters to the ledger, until they are answered.
    pub(super) tasks: ActorTasks<Self>,
    /// Events, some of which wait for their media.
    pub(super) arrivals: InOrder<Arrival>,
    pub(super) unacked: UnackedEvents<Arrival>,
    /// To be offered together, before the handler returns.
    pub(super) to_offer: Vec<(Seq, Arrival)>,
    pub(super) descriptors: Descriptors,
    /// The generation of the connection whose time to describe every identity has passed.
    pub(super) described: Option<u64>,
    pub(super) counts: LinkCounts,
    idle_waiters: Vec<oneshot::Sender<IdleAnswer>>,
    timer: Option<SpawnHandle>,
    /// A graceful stop has begun: no more dials.
    stopping: bool,
}

impl RelayActor {
    /// A link that dials as soon as it is started.
    #[must_use]
    pub fn new(ports: RelayPorts, settings: LinkSettings, incarnation: Incarnation) -> Self {
        let LinkSettings { link, owner, profile, claims, timings, client, media, counts } = settings;
        let clock = Clock::start();
        Self {
            plan: LinkPlan::new(timings.clone(), clock.now()),
            clock,
            fetcher: Fetcher::new(ports.profile.clone(), timings.prepare, client.clone(), media),
            link,
            owner,
            profile,
            claims,
            claim: None,
            ports,
            timings,
            client,
            incarnation,
            params: None,
            dialling: None,
            connection: None,
            slot: Arc::new(Semaphore::new(1)),
            places: Arc::new(Semaphore::new(PLACES as usize)),
            pending: PendingSends::default(),
            tasks: ActorTasks::default(),
            arrivals: InOrder::default(),
            unacked: UnackedEvents::default(),
            to_offer: Vec::new(),
            descriptors: Descriptors::default(),
            described: None,
            counts,
            idle_waiters: Vec::new(),
            timer: None,
            stopping: false,
        }
    }

    /// Lets the plan decide and carries out its steps. All changes of state go through here.
    pub(super) fn decide(&mut self, ctx: &mut Context<Self>, decide: impl FnOnce(&mut LinkPlan, At) -> Vec<LinkStep>) {
        if self.stopping {
            return;
        }
        if let Some(connection) = &self.connection {
            self.plan.received(connection.generation, self.clock.at(connection.last_seen()));
        }
        let before = self.plan.state();
        let steps = decide(&mut self.plan, At { now: self.clock.now(), random: fastrand::f64() });
        for step in &steps {
            self.carry_out(step, ctx);
        }
        if self.plan.state() != before {
            self.announce();
        }
        self.arm(ctx);
    }

    /// Sets the timer to the time of the plan's next action.
    fn arm(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(due) = self.plan.next_tick() {
            let wait = due.saturating_sub(self.clock.now());
            self.timer = Some(ctx.run_later(wait, |link, ctx| {
                link.timer = None;
                link.decide(ctx, LinkPlan::tick);
            }));
        }
    }

    fn announce(&self) {
        let (link, state, reason) = (&self.link.0, self.plan.state(), self.plan.last_error());
        match state {
            LinkState::Connected => info!(%link, "relay link is up"),
            LinkState::Revoked => error!(%link, reason, "relay credentials were revoked; no dial until they change"),
            LinkState::Disabled if reason.is_some() => warn!(%link, reason, "relay link is disabled"),
            LinkState::Waiting => warn!(%link, reason, "relay link is down"),
            LinkState::Disabled | LinkState::Connecting | LinkState::Handshaking | LinkState::Idle => {
                debug!(%link, ?state, "relay link changed");
            }
        }
        self.send_change();
        self.ports.status.report();
    }

    /// Sends the state of the link to the listed ports. A receiver that missed it can send [`ResendLinkState`].
    pub(super) fn send_change(&self) {
        let state = self.plan.state();
        let known = state == LinkState::Connected && self.is_described();
        let descriptors = known.then(|| Arc::from(self.descriptors.all()));
        let change = LinkChanged { link: self.link.clone(), state, descriptors };
        for port in &self.ports.changes {
            if let Err(error) = port.tell(change.clone()) {
                debug!(link = %self.link.0, %error, "link change not delivered");
            }
        }
    }

    /// Whether the connector has described every identity, or the time for that has passed.
    pub(super) fn is_described(&self) -> bool {
        let known =
            |identity: &Identity| self.descriptors.all().iter().any(|known| known.platform == identity.platform);
        self.described == Some(self.plan.generation()) || self.identities().iter().all(known)
    }

    fn sweep_media(&mut self, ctx: &mut Context<Self>) {
        let fetcher = self.fetcher.clone();
        ctx.spawn(async move { fetcher.sweep().await }.into_actor(self));
    }

    pub(super) fn answer_idle(&mut self, answer: IdleAnswer) {
        for waiter in self.idle_waiters.drain(..) {
            // A caller whose timeout has passed has dropped its receiver.
            let _ = waiter.send(answer);
        }
    }

    fn go_idle(&mut self, how: Idleness, ctx: &mut Context<Self>) -> ResponseFuture<IdleAnswer> {
        let (waiter, answer) = oneshot::channel();
        self.idle_waiters.push(waiter);
        self.decide(ctx, |plan, at| plan.go_idle(how, at));
        // A link that is stopping, or whose actor has stopped, counts as not connected.
        ResponseFuture::new(async move { answer.await.unwrap_or(IdleAnswer::NotConnected) })
    }

    /// The platform and bot on an outbound frame.
    fn address(&self, target: &Target) -> (Option<String>, Option<String>) {
        let identity = self.identity_of(&target.platform);
        // Events of an unknown platform, and interactions, count as `relay`: the connector uses its default.
        if identity.is_none() && target.platform == RELAY {
            return (None, None);
        }
        let own = identity.map(|identity| identity.bot_id.clone());
        let bot_id = target.bot_id.clone().or(own).filter(|id| !id.is_empty());
        (Some(target.platform.clone()), bot_id)
    }

    pub(super) fn identity_of(&self, platform: &str) -> Option<&Identity> {
        self.identities().iter().find(|identity| identity.platform == platform)
    }

    pub(super) fn identities(&self) -> &[Identity] {
        self.params.as_ref().map_or(&[], |params| &params.identities)
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
        if self.stopping {
            return Running::Stop;
        }
        self.stopping = true;
        self.answer_idle(IdleAnswer::NotConnected);
        self.pending.fail_all();
        let Some(connection) = self.connection.take() else { return Running::Stop };
        connection.close(CloseWith::Away);
        // The slot is free once the socket is closed; the timeout of the closing handshake bounds this wait.
        let closed = Arc::clone(&self.slot).acquire_owned();
        ctx.spawn(closed.into_actor(self).map(|_, _, ctx| ctx.stop()));
        Running::Continue
    }
}

impl Handler<SendAction> for RelayActor {
    type Result = ResponseFuture<ActionResult>;

    fn handle(&mut self, message: SendAction, _: &mut Self::Context) -> Self::Result {
        let refuse =
            |reason: NotSent, why: &str| -> Self::Result { ResponseFuture::ready(ActionResult::not_sent(reason, why)) };
        let Some(connection) = self.connection.as_ref().filter(|_| self.plan.is_up()) else {
            return refuse(NotSent::NoLink, NOT_CONNECTED);
        };
        let request_id = Uuid::new_v4().simple().to_string();
        let (platform, bot_id) = self.address(&message.target);
        let frame = ToConnector::Outbound {
            request_id: request_id.clone(),
            action: Box::new(message.action),
            platform,
            bot_id,
        };
        let (ticket, answer) = self.pending.admit(request_id, self.timings.result);
        match connection.send(frame.to_line(), ticket) {
            Ok(()) => {
                self.counts.frame("outbound");
                ResponseFuture::new(answer)
            }
            // Dropping `answer` removes it from the pending sends.
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

    fn handle(&mut self, _: ResendLinkState, _: &mut Self::Context) {
        self.send_change();
    }
}

impl Handler<GetLink> for RelayActor {
    type Result = MessageResult<GetLink>;

    fn handle(&mut self, _: GetLink, _: &mut Self::Context) -> Self::Result {
        let now = Instant::now();
        let ms = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let age = |then: Instant| ms(now.saturating_duration_since(then));
        let counts = self.counts.get();
        let platforms: BTreeSet<&String> = self.identities().iter().map(|identity| &identity.platform).collect();
        MessageResult(LinkView {
            link: self.link.clone(),
            state: self.plan.state(),
            state_age_ms: ms(self.clock.now().saturating_sub(self.plan.since())),
            generation: counts.dials,
            next_dial_ms: self.plan.next_dial().map(|then| ms(then.saturating_sub(self.clock.now()))),
            last_inbound_age_ms: counts.last_inbound.map(age),
            last_ack_age_ms: counts.last_ack.map(age),
            last_error: self.plan.last_error().map(str::to_owned),
            frames: counts.frames,
            skipped: counts.skipped,
            dead_letters: counts.dead_letters,
            waiting: self.pending.len(),
            platforms: platforms.into_iter().cloned().collect(),
            descriptors: self.descriptors.all().to_vec(),
        })
    }
}

#[cfg(test)]
#[path = "actor_tests/mod.rs"]
mod tests;
