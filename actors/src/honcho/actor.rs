//! Keeps the grants of all profiles fresh and answers their tokens.
//!
//! Owns the state of each grant, the watch on the files and the timers; one [`Refresh`] at a time per grant runs on a separate
//! thread. Receives requests of the profiles, orders over HTTP, and file events; sends each profile its token, and the
//! status a notification of changes. Independent of how a token is used. A restart loses the answer of an exchange in flight
//! for its waiting callers, not the exchange: its thread continues under the lock, and the next incarnation takes the outcome from
//! the file, or finds the note that the token is in doubt.

mod check; // Checks the files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix::fut;
use actix::{
    Actor, ActorContext, ActorFutureExt, ActorResponse, AsyncContext, Context, Handler, MessageResult,
    ResponseActFuture, Running, WrapFuture,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::entries::GrantEntries;
use super::held::Now;
pub use super::location::HonchoProfile;
use super::plan::{RefreshOrder, TokenDecision, Waits};
use super::profile_check::{GrantLocation, redacted_as};
use super::refresh::{Refresh, RefreshTimeouts, unix_now_ms};
use super::watch::{GrantFileTouched, GrantWatch};
use super::wiring::RefreshDone;
pub use super::wiring::{HonchoContext, HonchoOwnPorts, HonchoPorts, HonchoSettings};
use crate::clock::Clock;
use crate::config::messages::SettingsChanged;
use crate::counts::Count;
use caduceus_contract::messages::honcho::{FreshAnswer, FreshToken, GetGrants, GrantUnknown, GrantView, RefreshGrant};
use caduceus_contract::messages::profile::TokenChanged;
use caduceus_contract::profile_name::ProfileName;
use caduceus_supervision::{Incarnation, StartContext};

/// Interval of the plans' ticks; none of their waits is shorter than 5 s.
const TICK: Duration = Duration::from_secs(1);

/// The answer to a [`FreshToken`].
type Fresh = Result<Option<FreshAnswer>, GrantUnknown>;

/// How a [`FreshToken`] is answered.
enum FreshReply {
    /// From memory, as nearly always: without a future in the actor's context.
    Now(Fresh),
    Later(ResponseActFuture<HonchoRefreshActor, Fresh>),
}

/// The actor of the grants.
pub struct HonchoRefreshActor {
    ports: HonchoPorts,
    settings: HonchoSettings,
    incarnation: Incarnation,
    clock: Clock,
    own: HonchoOwnPorts,
    grants: GrantEntries,
    /// The token last sent to each profile; a profile not in here was sent nothing.
    sent: BTreeMap<ProfileName, Option<SecretString>>,
    watch: GrantWatch,
    checking: CheckState,
    /// A file event is in the mailbox.
    touched: Arc<AtomicBool>,
    checked: bool,
    /// When all profiles were last checked.
    checked_at: Instant,
    /// Profiles whose file has no grant: only an event changes that.
    without_grant: BTreeSet<ProfileName>,
    /// Refreshes started and ended: a check that overlaps with one may have seen an outdated file.
    started: u64,
    ended: u64,
    /// Callers before the first check of their profile; answered when this is dropped.
    early: Vec<oneshot::Sender<()>>,
    stopping: bool,
}

/// The state of the check of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CheckState {
    Idle,
    Running,
    /// Running, and requested once more since.
    Again,
}

impl HonchoRefreshActor {
    /// An actor that begins with a check of the files.
    #[must_use]
    pub fn new(ports: HonchoPorts, settings: HonchoSettings, incarnation: Incarnation, own: HonchoOwnPorts) -> Self {
        let touched = Arc::<AtomicBool>::default();
        let watch = GrantWatch::new(settings.events.clone(), own.touched.clone(), Arc::clone(&touched));
        Self {
            ports,
            incarnation,
            clock: Clock::start(),
            own,
            grants: GrantEntries::default(),
            sent: BTreeMap::new(),
            watch,
            checking: CheckState::Idle,
            touched,
            checked: false,
            checked_at: Instant::now(),
            without_grant: BTreeSet::new(),
            started: 0,
            ended: 0,
            early: Vec::new(),
            stopping: false,
            settings,
        }
    }

    fn now(&self) -> Now {
        Now { unix_ms: unix_now_ms(), at: self.clock.now(), random: fastrand::f64() }
    }

    fn waits(&self) -> Waits {
        Waits { caller: self.settings.caller_wait, retry_wait: self.settings.timeouts.retry_wait }
    }

    /// Sends its token to every profile whose token has changed, and notifies the status.
    fn publish(&mut self) {
        for (profile, port) in &self.ports.profiles {
            if self.grants.place(profile).is_none() {
                continue;
            }
            let token = self.grants.token(profile);
            if self.sent.get(profile).is_some_and(|sent| same(sent.as_ref(), token)) {
                continue;
            }
            match port.tell(TokenChanged { token: token.cloned() }) {
                Ok(()) => drop(self.sent.insert(profile.clone(), token.cloned())),
                Err(error) => {
                    debug!(%profile, %error, "token not sent to a profile; the next check tries again");
                }
            }
        }
        self.ports.status.report();
    }

    fn begin(&mut self, place: &GrantLocation, order: RefreshOrder) {
        let Some(entry) = self.grants.at(place) else {
            return;
        };
        self.started += 1;
        let job = (self.incarnation.generation(), self.started);
        entry.job = Some(job);
        let refresh = Refresh {
            path: place.path.clone(),
            host: place.host.clone(),
            known: order.known,
            unsaved: order.unsaved,
            reason: order.reason,
            timeouts: self.settings.timeouts,
            client: self.settings.context.client.clone(),
            steps: self.settings.steps.clone(),
            redactor: self.settings.context.redactor.clone(),
        };
        let (done, place) = (self.own.done.clone(), place.clone());
        let tell = move |report| {
            if let Err(error) = done.tell(RefreshDone { place, job, report }) {
                warn!(%error, "end of a refresh not received; the file has its outcome");
            }
        };
        // Its last report, that there is no thread, has been sent by then.
        if let Err(error) = refresh.spawn(tell) {
            warn!(%error, "no thread for a refresh");
        }
        self.publish();
    }

    fn tick(&mut self) {
        if self.stopping {
            return;
        }
        let now = self.now();
        for (place, order) in self.grants.due(now) {
            self.begin(&place, order);
        }
    }

    /// Answers the token, after a refresh if one is needed and ends in time. Waits until `deadline` for the first check of a
    /// profile, which may have been added just now.
    fn fresh(&mut self, profile: ProfileName, now: Now, deadline: Duration) -> FreshReply {
        let stopping = self.stopping;
        let Some((place, entry)) = self.grants.of(&profile) else {
            return self.unchecked(profile, now, deadline);
        };
        // During shutdown no refresh is started, because it might be interrupted.
        let decision = if stopping {
            entry.plan.token().cloned().map_or(TokenDecision::NoGrant, TokenDecision::Current)
        } else {
            entry.plan.ask(now)
        };
        match decision {
            TokenDecision::NoGrant => FreshReply::Now(Ok(None)),
            TokenDecision::Current(token) => FreshReply::Now(Ok(Some(FreshAnswer { token, refreshed: false }))),
            TokenDecision::Wait { order, until } => {
                let before = entry.plan.token().cloned();
                let (wake, woken) = oneshot::channel();
                entry.waiting.push(wake);
                if let Some(order) = order {
                    let place = place.clone();
                    self.begin(&place, *order);
                }
                let timeout = until.saturating_sub(now.at);
                FreshReply::Later(Box::pin(within(timeout, woken).into_actor(self).map(move |(), actor, _| {
                    let Some((_, entry)) = actor.grants.of(&profile) else { return Err(GrantUnknown(profile)) };
                    let answer = |token| FreshAnswer { refreshed: !same(before.as_ref(), Some(&token)), token };
                    Ok(entry.plan.token().cloned().map(answer))
                })))
            }
        }
    }

    /// Answers the question about a profile that was not checked yet, or is not served.
    fn unchecked(&mut self, profile: ProfileName, now: Now, deadline: Duration) -> FreshReply {
        let served = self.settings.profiles.iter().any(|served| served.name == profile);
        if !served || now.at >= deadline {
            return FreshReply::Now(Err(GrantUnknown(profile)));
        }
        let (wake, woken) = oneshot::channel();
        self.early.push(wake);
        let checked = within(deadline.saturating_sub(now.at), woken).into_actor(self);
        FreshReply::Later(Box::pin(checked.then(move |(), actor, _| {
            match actor.fresh(profile, actor.now(), deadline) {
                FreshReply::Now(answer) => Box::pin(fut::ready(answer)),
                FreshReply::Later(answer) => answer,
            }
        })))
    }

    fn exchanges(&self, place: &GrantLocation) -> Count {
        self.settings.exchanges.of(&(place.path.clone(), place.host.clone()))
    }

    fn view(&self, profile: &ProfileName) -> Option<GrantView> {
        self.grants.view(profile, |place| self.exchanges(place).get(), self.now())
    }
}

impl HonchoOwnPorts {
    /// The ports of a child of a tree.
    #[must_use]
    pub fn of(start: &StartContext<HonchoRefreshActor>) -> Self {
        Self { done: start.own(), touched: start.own() }
    }
}

impl Actor for HonchoRefreshActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.check(ctx);
        ctx.run_interval(TICK, |actor, ctx| {
            actor.tick();
            if actor.watch.take_missed() {
                actor.check(ctx);
            }
        });
        ctx.run_interval(self.settings.poll, Self::poll);
    }

    /// A refresh in flight delays the stop, within the supervisor's timeout: a process that ends in the middle of one
    /// leaves a spent token on disk.
    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.stopping = true;
        let in_flight = self.grants.any_in_flight();
        if in_flight && !std::thread::panicking() { Running::Continue } else { Running::Stop }
    }
}

impl Handler<FreshToken> for HonchoRefreshActor {
    type Result = ActorResponse<Self, Fresh>;
    fn handle(&mut self, request: FreshToken, _: &mut Self::Context) -> Self::Result {
        let now = self.now();
        match self.fresh(request.profile, now, now.at + self.settings.caller_wait) {
            FreshReply::Now(answer) => ActorResponse::reply(answer),
            FreshReply::Later(answer) => ActorResponse::r#async(answer),
        }
    }
}

impl Handler<RefreshGrant> for HonchoRefreshActor {
    type Result = ResponseActFuture<Self, Option<GrantView>>;
    fn handle(&mut self, request: RefreshGrant, _: &mut Self::Context) -> Self::Result {
        let (now, stopping) = (self.now(), self.stopping);
        let RefreshTimeouts { lock_wait, exchange, .. } = self.settings.timeouts;
        let Some((place, entry)) = self.grants.of(&request.profile) else {
            return Box::pin(fut::ready(None));
        };
        let order = if stopping { None } else { entry.plan.request_now(now) };
        if order.is_none() && !entry.plan.is_refreshing() {
            return Box::pin(fut::ready(self.view(&request.profile)));
        }
        let (wake, woken) = oneshot::channel();
        entry.waiting.push(wake);
        if let Some(order) = order {
            let place = place.clone();
            self.begin(&place, order);
        }
        let wait = within(lock_wait + exchange, woken).into_actor(self);
        Box::pin(wait.map(move |(), actor, _| actor.view(&request.profile)))
    }
}

impl Handler<GetGrants> for HonchoRefreshActor {
    type Result = MessageResult<GetGrants>;
    fn handle(&mut self, _: GetGrants, _: &mut Self::Context) -> Self::Result {
        if !self.grants.any() {
            return MessageResult(Vec::new());
        }
        MessageResult(self.settings.profiles.iter().filter_map(|profile| self.view(&profile.name)).collect())
    }
}

impl Handler<SettingsChanged> for HonchoRefreshActor {
    type Result = ();
    fn handle(&mut self, SettingsChanged(in_force): SettingsChanged, ctx: &mut Self::Context) {
        let profiles = HonchoPorts::profiles(&in_force);
        // A profile that is added again has a new actor, which has received no token.
        self.without_grant.retain(|profile| profiles.contains_key(profile));
        self.sent.retain(|profile, _| profiles.contains_key(profile));
        self.grants.retain_places(|profile| profiles.contains_key(profile));
        for gone in self.settings.profiles.iter().filter(|served| !profiles.contains_key(&served.name)) {
            self.settings.context.redactor.remove(&redacted_as(&gone.name));
        }
        self.settings.profiles = self.settings.context.profiles(&in_force);
        self.ports.profiles = profiles;
        self.check(ctx);
    }
}

impl Handler<GrantFileTouched> for HonchoRefreshActor {
    type Result = ();
    fn handle(&mut self, _: GrantFileTouched, ctx: &mut Self::Context) {
        // Before the check: a change during it notifies again.
        self.touched.store(false, Ordering::SeqCst);
        self.check(ctx);
    }
}

impl Handler<RefreshDone> for HonchoRefreshActor {
    type Result = ();
    fn handle(&mut self, done: RefreshDone, ctx: &mut Self::Context) {
        let RefreshDone { place, job, report } = done;
        report.outcome.log(&place.host);
        self.ended += 1;
        if report.presented {
            self.exchanges(&place).one();
        }
        // The plan does not wait for a refresh of an earlier incarnation; the file has its outcome.
        let now = self.now();
        if let Some(entry) = self.grants.at(&place).filter(|entry| entry.job == Some(job)) {
            entry.job = None;
            entry.plan.ended(report.outcome, report.presented, now);
            entry.waiting.clear();
            self.publish();
        }
        if self.stopping {
            ctx.stop();
        } else {
            self.check(ctx);
        }
    }
}

/// Waits until `woken` fires, at most `timeout`.
async fn within(timeout: Duration, woken: oneshot::Receiver<()>) {
    // Woken or timed out, the caller then examines the current state.
    let _ = tokio::time::timeout(timeout, woken).await;
}

fn same(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    one.map(SecretString::expose_secret) == other.map(SecretString::expose_secret)
}
