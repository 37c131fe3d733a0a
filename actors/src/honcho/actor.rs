//! Keeps the grants of all profiles alive and answers their tokens.
//!
//! Owns what is known of each grant, the watch on the files and the timers; one [`Refresh`] at a time for a grant runs on a thread of its
//! own. Told by the profiles (questions), HTTP (demands), file events; tells each profile its token and the
//! status that something moved. Knows nothing of how a token is used. A restart loses the answer of an exchange in flight to whoever
//! waited for it, not the exchange: its thread goes on under the lock, and the next incarnation takes the outcome from
//! the file, or finds noted there that the token is in doubt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::fut;
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, ResponseActFuture, Running,
    WrapFuture,
};
use futures_util::future::join_all;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::held::Now;
pub use super::location::HonchoProfile;
use super::messages::{FreshAnswer, FreshToken, GetGrants, GrantState, GrantUnknown, GrantView, RefreshGrant};
use super::plan::{Ask, GrantPlan, Order, Seen, Waits};
use super::refresh::{Limits, Refresh, unix_now_ms};
use super::survey::{Place, Sighting, Survey, redacted_as, survey, unanswered};
use super::watch::{GrantFileTouched, Watch};
pub use super::wiring::{HonchoOwn, HonchoPorts, HonchoSettings, HonchoSurroundings};
use super::wiring::{Job, RefreshDone};
use crate::clock::Clock;
use crate::config::messages::SettingsChanged;
use crate::counts::Count;
use crate::files::workers::Owner;
use crate::files::{FileWorker, Purpose};
use crate::profile::messages::TokenChanged;
use crate::profile::name::ProfileName;
use crate::status::messages::StatusTouched;
use caduceus_supervision::{Incarnation, StartContext};

/// How long a look at the files of one profile may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the plans are asked whether something is due; none of their waits is shorter than 5 s.
const TICK: Duration = Duration::from_secs(1);

/// The answer to a [`FreshToken`].
type Fresh = Result<Option<FreshAnswer>, GrantUnknown>;

/// Keeps the grants.
pub struct HonchoRefreshActor {
    ports: HonchoPorts,
    settings: HonchoSettings,
    incarnation: Incarnation,
    clock: Clock,
    own: HonchoOwn,
    /// Where each profile's grant stands, once looked.
    places: BTreeMap<ProfileName, Place>,
    grants: BTreeMap<Place, Entry>,
    /// The token each profile was last told; a profile not in here has been told nothing.
    told: BTreeMap<ProfileName, Option<SecretString>>,
    watch: Watch,
    looking: Looking,
    /// A file event is on its way to us.
    touched: Arc<AtomicBool>,
    looked: bool,
    /// Refreshes started and ended: a look that overlaps with one may have seen what is no longer true.
    started: u64,
    ended: u64,
    /// Callers that came before the first look at their profile; woken by being dropped.
    early: Vec<oneshot::Sender<()>>,
    stopping: bool,
}

/// A look at the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looking {
    Idle,
    UnderWay,
    /// Under way, and asked for once more since.
    Again,
}

struct Entry {
    plan: GrantPlan,
    job: Option<Job>,
    /// Callers that wait for the refresh under way; woken by being dropped.
    waiting: Vec<oneshot::Sender<()>>,
}

impl HonchoRefreshActor {
    /// A keeper that begins with a look at the files.
    #[must_use]
    pub fn new(ports: HonchoPorts, settings: HonchoSettings, incarnation: Incarnation, own: HonchoOwn) -> Self {
        let touched = Arc::<AtomicBool>::default();
        let watch = Watch::new(settings.events.clone(), own.touched.clone(), Arc::clone(&touched));
        Self {
            ports,
            incarnation,
            clock: Clock::start(),
            own,
            places: BTreeMap::new(),
            grants: BTreeMap::new(),
            told: BTreeMap::new(),
            watch,
            looking: Looking::Idle,
            touched,
            looked: false,
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
        Waits { caller: self.settings.caller_wait, careful: self.settings.limits.careful }
    }

    fn entry(&mut self, profile: &ProfileName) -> Option<(Place, &mut Entry)> {
        let place = self.places.get(profile)?.clone();
        let entry = self.grants.get_mut(&place)?;
        Some((place, entry))
    }

    /// Looks at the files, or once more if that is being done.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.looking != Looking::Idle {
            self.looking = Looking::Again;
            return;
        }
        self.looking = Looking::UnderWay;
        let careful = self.settings.limits.careful;
        let before = (self.started, self.ended);
        let looks = self.settings.profiles.clone().into_iter().map(|profile| {
            // Each on a thread of its own: a profile whose disk hangs keeps no other waiting for longer than this.
            let worker = FileWorker::of(&profile.homes.own, Purpose::Grant, Owner::Profile);
            let known = self.places.get(&profile.name).cloned();
            let redactor = self.settings.surroundings.redactor.clone();
            async move {
                let looked = profile.clone();
                match worker.run(LOOK_TIMEOUT, move || survey(&looked, careful, &redactor)).await {
                    Ok(survey) => survey,
                    Err(error) => {
                        let sighting = unanswered(&profile, known.as_ref(), error.to_string());
                        Survey { sighting, spots: Vec::new() }
                    }
                }
            }
        });
        let looks: Vec<_> = looks.collect();
        ctx.spawn(join_all(looks).into_actor(self).map(move |looked, actor, ctx| {
            let again = std::mem::replace(&mut actor.looking, Looking::Idle) == Looking::Again;
            let mut sightings = Vec::with_capacity(looked.len());
            for Survey { sighting, spots } in looked {
                for spot in &spots {
                    actor.watch.add(spot);
                }
                sightings.push(sighting);
            }
            actor.take_in(sightings, before);
            if again | actor.overtaken(before) {
                actor.look(ctx);
            }
        }));
    }

    /// Whether a refresh began or ended since; what was seen meanwhile may no longer be true.
    fn overtaken(&self, before: (u64, u64)) -> bool {
        before != (self.started, self.ended)
    }

    fn take_in(&mut self, sightings: Vec<Sighting>, before: (u64, u64)) {
        let overlapped = self.overtaken(before);
        let now = self.now();
        let waits = self.waits();
        for Sighting { profile, place, seen } in sightings {
            let entry = self.grants.entry(place.clone()).or_insert_with(|| Entry::new(waits));
            // A refresh sees the file under the lock, which is better than this; and what one overtook is looked at once more.
            let overtaken = overlapped && entry.plan.token().is_some();
            if !entry.plan.is_refreshing() && !overtaken {
                if let (Seen::Unreadable(why), true) = (&seen, entry.plan.state() != GrantState::Unreadable) {
                    warn!(host = place.host, why, "a grant's file cannot be used; the token in hand stays");
                }
                entry.plan.seen(seen, now);
            }
            // It may have gone while its file was looked at.
            if self.settings.profiles.iter().any(|served| served.name == profile) {
                self.places.insert(profile, place);
            } else {
                self.settings.surroundings.redactor.remove(&redacted_as(&profile));
            }
        }
        let places = &self.places;
        self.grants.retain(|place, entry| entry.plan.is_refreshing() || places.values().any(|used| used == place));
        if !self.looked {
            self.looked = true;
            self.incarnation.ready();
            // What is due already need not wait for the clock.
            self.tick();
        }
        self.early.clear();
        self.publish();
    }

    /// Tells every profile whose token is another one than it was told, and the status.
    fn publish(&mut self) {
        for (profile, port) in &self.ports.profiles {
            let Some(place) = self.places.get(profile) else {
                continue;
            };
            let token = self.grants.get(place).and_then(|entry| entry.plan.token());
            if self.told.get(profile).is_some_and(|told| same(told.as_ref(), token)) {
                continue;
            }
            match port.tell(TokenChanged { token: token.cloned() }) {
                Ok(()) => drop(self.told.insert(profile.clone(), token.cloned())),
                Err(error) => {
                    debug!(%profile, %error, "a profile was not told of its token; the next look tries again");
                }
            }
        }
        if let Err(error) = self.ports.status.tell(StatusTouched) {
            debug!(%error, "the status was not told of the grants");
        }
    }

    fn begin(&mut self, place: &Place, order: Order) {
        let Some(entry) = self.grants.get_mut(place) else {
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
            by_person: order.by_person,
            limits: self.settings.limits,
            client: self.settings.surroundings.client.clone(),
            steps: self.settings.steps.clone(),
            redactor: self.settings.surroundings.redactor.clone(),
        };
        let (done, place) = (self.own.done.clone(), place.clone());
        let tell = move |report| {
            if let Err(error) = done.tell(RefreshDone { place, job, report }) {
                warn!(%error, "nobody heard of the end of a refresh; the file has its outcome");
            }
        };
        // Its last word, that there is no thread, has been told by then.
        if let Err(error) = refresh.spawn(tell) {
            warn!(%error, "there is no thread for a refresh");
        }
        self.publish();
    }

    fn tick(&mut self) {
        if self.stopping {
            return;
        }
        let now = self.now();
        let due = |(place, entry): (&Place, &mut Entry)| Some((place.clone(), entry.plan.tick(now)?));
        let due: Vec<_> = self.grants.iter_mut().filter_map(due).collect();
        for (place, order) in due {
            self.begin(&place, order);
        }
    }

    /// Answers the token, after a refresh if one is needed and ends in time. Until `deadline` it is waited for the first look at a
    /// profile, which may have come just now.
    fn fresh(&mut self, profile: ProfileName, deadline: Duration) -> ResponseActFuture<Self, Fresh> {
        let now = self.now();
        let stopping = self.stopping;
        let served = self.settings.profiles.iter().any(|served| served.name == profile);
        let Some((place, entry)) = self.entry(&profile) else {
            if !served || now.at >= deadline {
                return Box::pin(fut::ready(Err(GrantUnknown(profile))));
            }
            let (wake, woken) = oneshot::channel();
            self.early.push(wake);
            let looked = within(deadline.saturating_sub(now.at), woken).into_actor(self);
            return Box::pin(looked.then(move |(), actor, _| actor.fresh(profile, deadline)));
        };
        let have = |token| Box::pin(fut::ready(Ok(Some(FreshAnswer { token, refreshed: false }))));
        // On the way out nothing is begun that might be cut off in the middle.
        let asked =
            if stopping { entry.plan.token().cloned().map_or(Ask::Nothing, Ask::Have) } else { entry.plan.ask(now) };
        match asked {
            Ask::Nothing => Box::pin(fut::ready(Ok(None))),
            Ask::Have(token) => have(token),
            Ask::Wait { order, until } => {
                let before = entry.plan.token().cloned();
                let (wake, woken) = oneshot::channel();
                entry.waiting.push(wake);
                if let Some(order) = order {
                    self.begin(&place, *order);
                }
                let patience = until.saturating_sub(now.at);
                Box::pin(within(patience, woken).into_actor(self).map(move |(), actor, _| {
                    let Some((_, entry)) = actor.entry(&profile) else { return Err(GrantUnknown(profile)) };
                    let answer = |token| FreshAnswer { refreshed: !same(before.as_ref(), Some(&token)), token };
                    Ok(entry.plan.token().cloned().map(answer))
                }))
            }
        }
    }

    fn exchanges(&self, place: &Place) -> Count {
        self.settings.exchanges.of(&(place.path.clone(), place.host.clone()))
    }

    fn view(&self, profile: &ProfileName) -> Option<GrantView> {
        let place = self.places.get(profile)?;
        let plan = &self.grants.get(place)?.plan;
        let now = self.now();
        (plan.state() != GrantState::None).then(|| GrantView {
            profile: profile.clone(),
            host: place.host.clone(),
            state: plan.state(),
            expires_in_s: plan.expires_in_s(now),
            last_refresh_age_s: plan.last_refresh_age(now).map(|age| age.as_secs()),
            last_error: plan.last_error().map(str::to_owned),
            remedy: plan.state().remedy(),
            exchanges: self.exchanges(place).get(),
        })
    }
}

impl Entry {
    fn new(waits: Waits) -> Self {
        Self { plan: GrantPlan::new(waits), job: None, waiting: Vec::new() }
    }
}

impl HonchoOwn {
    /// The ports of a child of a tree.
    #[must_use]
    pub fn of(start: &StartContext<HonchoRefreshActor>) -> Self {
        Self { done: start.own(), touched: start.own() }
    }
}

impl Actor for HonchoRefreshActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.look(ctx);
        ctx.run_interval(TICK, |actor, _| actor.tick());
        ctx.run_interval(self.settings.poll, Self::look);
    }

    /// A refresh in flight is waited for, within the grace of the supervisor: a process that ends in the middle of one
    /// leaves a spent token on disk.
    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.stopping = true;
        let in_flight = self.grants.values().any(|entry| entry.job.is_some());
        if in_flight && !std::thread::panicking() { Running::Continue } else { Running::Stop }
    }
}

impl Handler<FreshToken> for HonchoRefreshActor {
    type Result = ResponseActFuture<Self, Fresh>;
    fn handle(&mut self, question: FreshToken, _: &mut Self::Context) -> Self::Result {
        self.fresh(question.profile, self.clock.now() + self.settings.caller_wait)
    }
}

impl Handler<RefreshGrant> for HonchoRefreshActor {
    type Result = ResponseActFuture<Self, Option<GrantView>>;
    fn handle(&mut self, demand: RefreshGrant, _: &mut Self::Context) -> Self::Result {
        let (now, stopping) = (self.now(), self.stopping);
        let Limits { lock_wait, exchange, .. } = self.settings.limits;
        let Some((place, entry)) = self.entry(&demand.profile) else {
            return Box::pin(fut::ready(None));
        };
        let order = if stopping { None } else { entry.plan.demand(now) };
        if order.is_none() && !entry.plan.is_refreshing() {
            return Box::pin(fut::ready(self.view(&demand.profile)));
        }
        let (wake, woken) = oneshot::channel();
        entry.waiting.push(wake);
        if let Some(order) = order {
            self.begin(&place, order);
        }
        let wait = within(lock_wait + exchange, woken).into_actor(self);
        Box::pin(wait.map(move |(), actor, _| actor.view(&demand.profile)))
    }
}

impl Handler<GetGrants> for HonchoRefreshActor {
    type Result = MessageResult<GetGrants>;
    fn handle(&mut self, _: GetGrants, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.settings.profiles.iter().filter_map(|profile| self.view(&profile.name)).collect())
    }
}

impl Handler<SettingsChanged> for HonchoRefreshActor {
    type Result = ();
    fn handle(&mut self, SettingsChanged(in_force): SettingsChanged, ctx: &mut Self::Context) {
        let profiles = HonchoPorts::profiles(&in_force);
        // One that comes back has another actor, which has heard of no token.
        self.told.retain(|profile, _| profiles.contains_key(profile));
        self.places.retain(|profile, _| profiles.contains_key(profile));
        for gone in self.settings.profiles.iter().filter(|served| !profiles.contains_key(&served.name)) {
            self.settings.surroundings.redactor.remove(&redacted_as(&gone.name));
        }
        self.settings.profiles = self.settings.surroundings.profiles(&in_force);
        self.ports.profiles = profiles;
        self.look(ctx);
    }
}

impl Handler<GrantFileTouched> for HonchoRefreshActor {
    type Result = ();
    fn handle(&mut self, _: GrantFileTouched, ctx: &mut Self::Context) {
        // Before the look: what happens during it is told again.
        self.touched.store(false, Ordering::SeqCst);
        self.look(ctx);
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
        // A refresh of an earlier incarnation is not what the plan waits for; the file has its outcome.
        let now = self.now();
        if let Some(entry) = self.grants.get_mut(&place).filter(|entry| entry.job == Some(job)) {
            entry.job = None;
            entry.plan.ended(report.outcome, report.presented, now);
            entry.waiting.clear();
            self.publish();
        }
        if self.stopping {
            ctx.stop();
        } else {
            self.look(ctx);
        }
    }
}

/// Waits until `woken` is, at most `patience`.
async fn within(patience: Duration, woken: oneshot::Receiver<()>) {
    // Woken and too late are the same to the one who then looks at the state afresh.
    let _ = tokio::time::timeout(patience, woken).await;
}

fn same(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    one.map(SecretString::expose_secret) == other.map(SecretString::expose_secret)
}
