//! The one authority on whether a turn may start.
//!
//! Owns the [`Gate`] for as long as it is its keeper, and the watch on the markers. Told by the dispatcher (permits), HTTP (begin,
//! cancel), file events and a slow poll; tells the dispatcher and the status when the gate moves. A restart loses
//! nothing of the gate, but the writes and removals of markers that still stand in line: those who asked are told that theirs
//! was not done. Those who await the end of a drain ask again.

mod handlers; // One a message.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Message, WrapFuture};
use jiff::Timestamp;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::epoch::{self, Epoch};
use super::line::GateStep;
use super::marker::MarkerReading;
use super::messages::{DrainChanged, DrainView, Refusal, TurnInFlight};
use super::permit::messages::RequestPermit;
use super::permit::{Gate, TurnPermit};
use super::plan::{Change, GatePlan, Scope};
use super::readings::{Hanging, Readings};
use super::store;
use super::watch::{MarkerTouched, Watch};
use crate::config::messages::InForce;
use crate::files::workers::Owner;
use crate::files::{FileEvents, FileWorker, Purpose};
use crate::profile::name::ProfileName;
use crate::status::messages::StatusTouched;
use caduceus_supervision::{Incarnation, Port, StartContext};

/// How often the markers are looked at without any event, for file systems that give none.
const POLL: Duration = Duration::from_secs(1);

/// What one gate needs.
#[derive(Clone)]
pub struct DrainSettings {
    /// The gateway's own home; its marker covers every profile.
    pub home: PathBuf,
    /// The homes of the named profiles; each marker covers that profile.
    pub profiles: BTreeMap<ProfileName, PathBuf>,
    /// Tells that a marker may have changed; `None` for a test of the poll.
    pub events: Option<FileEvents>,
}

impl DrainSettings {
    /// The homes by what is in force.
    #[must_use]
    pub fn of(in_force: &InForce, events: Option<FileEvents>) -> Self {
        let named = in_force.profiles.iter().filter(|served| served.home != in_force.home);
        let profiles = named.map(|served| (served.name.clone(), served.home.clone())).collect();
        Self { home: in_force.home.clone(), profiles, events }
    }
}

/// Whom the gate tells.
#[derive(Clone)]
pub struct DrainPorts {
    /// The gate opened or closed.
    pub changes: Port<DrainChanged>,
    /// Something shown changed.
    pub status: Port<StatusTouched>,
}

/// Keeps the gate.
pub struct DrainActor {
    pub(super) gate: Gate,
    pub(super) settings: DrainSettings,
    ports: DrainPorts,
    incarnation: Incarnation,
    own: Port<MarkerTouched>,
    released: Port<TurnReleased>,
    epoch: Option<Epoch>,
    /// Whatever is done to the markers, and what is known of them.
    pub(super) markers: Readings<DiskOrder>,
    pub(super) watch: Option<Watch>,
    /// Questions that came before the markers that they depend on were first read.
    early: Vec<(RequestPermit, oneshot::Sender<Result<TurnPermit, Refusal>>)>,
    /// The gateway's own marker has been read.
    read_once: bool,
    waiters: Vec<Waiter>,
    /// So that a marker from an earlier life of the machine is mentioned once.
    stale_told: bool,
    /// Drains past their deadline whose marker stays, so that each is mentioned once.
    stuck: BTreeSet<Scope>,
    /// The gate moved and the dispatcher may not know: told again with the next poll.
    change_untold: bool,
    /// Counts the sets of homes that there were.
    pub(super) homes_version: u64,
    /// Those who wait until every marker of a set of homes, or of a later one, was read.
    pub(super) homes_waiters: Vec<(u64, oneshot::Sender<()>)>,
}

/// Someone who waits for the turns to end.
struct Waiter {
    /// Whether also for the turns that themselves asked for the drain.
    askers_too: bool,
    woken: oneshot::Sender<()>,
}

/// What is to be done to a marker off the arbiters, and what follows from it here. The work answers whether it met, or left, a
/// marker.
pub(super) struct DiskOrder {
    home: Option<PathBuf>,
    work: Work,
    then: Then,
}

type Work = Box<dyn FnOnce(&Path) -> io::Result<bool> + Send>;

type Then = Box<dyn FnOnce(&mut DrainActor, io::Result<bool>) + Send>;

/// News from a permit that was dropped.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct TurnReleased;

impl DrainActor {
    /// A keeper for `gate`.
    #[must_use]
    pub fn new(gate: Gate, settings: DrainSettings, ports: DrainPorts, start: &StartContext<Self>) -> Self {
        Self {
            gate,
            settings,
            ports,
            incarnation: start.incarnation().clone(),
            own: start.own(),
            released: start.own(),
            epoch: None,
            markers: Readings::new(),
            watch: None,
            early: Vec::new(),
            read_once: false,
            waiters: Vec::new(),
            stale_told: false,
            stuck: BTreeSet::new(),
            change_untold: false,
            homes_version: 0,
            homes_waiters: Vec::new(),
        }
    }

    pub(super) fn keeper(&self) -> u64 {
        self.incarnation.generation()
    }

    fn home(&self, scope: &Scope) -> Option<PathBuf> {
        match scope {
            Scope::Gateway => Some(self.settings.home.clone()),
            Scope::Profile(name) => self.settings.profiles.get(name).cloned(),
        }
    }

    pub(super) fn homes(&self) -> Vec<(Scope, PathBuf)> {
        let named = self.settings.profiles.iter().map(|(name, home)| (Scope::Profile(name.clone()), home.clone()));
        std::iter::once((Scope::Gateway, self.settings.home.clone())).chain(named).collect()
    }

    /// Has every marker read, beginning after this moment, and takes in what is found.
    pub(super) fn reread(&mut self, ctx: &mut Context<Self>) {
        for (scope, _) in self.homes() {
            self.reread_one(&scope, ctx);
        }
    }

    /// The same for one home.
    pub(super) fn reread_one(&mut self, scope: &Scope, ctx: &mut Context<Self>) {
        self.markers.ask_reading(scope);
        self.go_on(scope, ctx);
    }

    /// Has this order carried out after all those before it in this home: its place in line is taken here and now, not at the first
    /// poll of some future.
    fn order(
        &mut self,
        scope: &Scope,
        work: impl FnOnce(&Path) -> io::Result<bool> + Send + 'static,
        then: impl FnOnce(&mut Self, io::Result<bool>) + Send + 'static,
        ctx: &mut Context<Self>,
    ) {
        let home = self.home(scope);
        self.markers.push(scope, DiskOrder { home, work: Box::new(work), then: Box::new(then) });
        self.go_on(scope, ctx);
    }

    /// Begins what is next at the marker, if nothing is under way there.
    fn go_on(&mut self, scope: &Scope, ctx: &mut Context<Self>) {
        match self.markers.next(scope) {
            Some(GateStep::Order(order)) => self.carry_out(scope.clone(), order, ctx),
            Some(GateStep::Read) => self.read(scope.clone(), ctx),
            None => {}
        }
    }

    fn carry_out(&mut self, scope: Scope, order: DiskOrder, ctx: &mut Context<Self>) {
        let DiskOrder { home, work, then } = order;
        let place = home.map(|home| (worker(&scope, &home), home));
        let working = async move {
            // Nobody of that name has a home.
            let Some((worker, home)) = place else { return Ok(false) };
            let done = worker.run_to_the_end(move || work(&home)).await;
            done.unwrap_or_else(|error| Err(io::Error::other(error)))
        };
        ctx.spawn(working.into_actor(self).map(move |done, actor, ctx| {
            then(actor, done);
            actor.markers.done(&scope, false);
            actor.go_on(&scope, ctx);
        }));
    }

    fn read(&mut self, scope: Scope, ctx: &mut Context<Self>) {
        let Some(home) = self.home(&scope) else { return };
        self.markers.begin_reading(&scope, self.homes_version, Instant::now());
        let orders = self.gate.look(GatePlan::orders);
        let (known, place) = (self.epoch.clone(), home.clone());
        let worker = worker(&scope, &home);
        let reading = async move {
            let read = worker.run_to_the_end(move || {
                let epoch = known.or_else(epoch::current);
                let found = store::read(&place, epoch.as_ref());
                (epoch, found)
            });
            read.await
        };
        ctx.spawn(reading.into_actor(self).map(move |read, actor, ctx| {
            // The profile may have gone, or moved, while its marker was read; and an order may have come in between.
            let answered = read.is_ok();
            let counts = answered && actor.home(&scope) == Some(home) && orders == actor.gate.look(GatePlan::orders);
            match read {
                Ok((epoch, found)) => {
                    actor.epoch = epoch;
                    if counts {
                        actor.take_in(&scope, orders, found.as_ref());
                    }
                }
                Err(error) => warn!(?scope, %error, "a drain marker was not read"),
            }
            if actor.markers.done(&scope, counts) {
                info!(?scope, "the disk of a home answers again; its drain marker was read");
            }
            if answered && !counts {
                actor.markers.ask_reading(&scope);
            }
            actor.were_read();
            actor.end_overdue(&scope, ctx);
            actor.go_on(&scope, ctx);
        }));
    }

    /// Markers were read, or given up: whoever waited for that goes on.
    fn were_read(&mut self) {
        self.first_reading_done();
        self.answer_early();
        self.homes_were_read();
    }

    /// Looks for homes whose disk does not answer.
    fn notice_hanging(&mut self) {
        for Hanging { scope, presumed } in self.markers.hanging(Instant::now()) {
            if presumed {
                error!(
                    ?scope,
                    "the disk of a home does not answer, so a drain marker may lie there: it counts as drained until it does"
                );
                let drained = MarkerReading { draining: true, garbled: true, ..MarkerReading::default() };
                self.take_in(&scope, self.gate.look(GatePlan::orders), Some(&drained));
            } else {
                error!(?scope, "the disk of a home does not answer; what was known last of its drain holds");
            }
            self.were_read();
        }
    }

    fn take_in(&mut self, scope: &Scope, orders: u64, reading: Option<&MarkerReading>) {
        if reading.is_some_and(|reading| reading.stale) && !self.stale_told {
            self.stale_told = true;
            info!(?scope, "a drain marker from a previous boot is ignored");
        }
        let change = self.gate.change(self.keeper(), |plan| plan.seen(scope.clone(), orders, reading, Instant::now()));
        match change {
            Some(Change::Began) => {
                let principal = reading.and_then(|reading| reading.principal.as_deref()).unwrap_or("unknown");
                info!(?scope, principal, by = "marker", "drain.begun");
                self.tell_change();
            }
            Some(Change::Ended) => {
                info!(?scope, by = "marker", "drain.ended");
                self.tell_change();
            }
            Some(Change::None) | None => {}
        }
    }

    fn first_reading_done(&mut self) {
        if self.read_once || !self.markers.is_known(&Scope::Gateway) {
            return;
        }
        self.read_once = true;
        // Whoever kept the gate before may have fallen between moving it and telling.
        self.tell_change();
        self.incarnation.ready();
    }

    /// Whether the markers on which turns of `profile` depend have been read.
    fn knows_of(&self, profile: &ProfileName) -> bool {
        self.read_once && self.markers.is_known(&Scope::Profile(profile.clone()))
    }

    fn answer_early(&mut self) {
        for (question, answer) in std::mem::take(&mut self.early) {
            if self.knows_of(&question.ticket.profile) {
                // An asker that has gone drops the permit, and so the count, at once.
                drop(answer.send(self.admit(question)));
            } else {
                self.early.push((question, answer));
            }
        }
    }

    fn admit(&self, question: RequestPermit) -> Result<TurnPermit, Refusal> {
        let permit = self.gate.admit(self.keeper(), question.ticket, question.origin)?;
        self.touch();
        Ok(permit)
    }

    pub(super) fn tell_change(&mut self) {
        let news = self.gate.look(|plan| DrainChanged {
            draining: plan.is_draining() || plan.is_stopping(),
            stopping: plan.is_stopping(),
            profiles: plan.profiles(),
        });
        let told = self.ports.changes.tell(news);
        if let Err(error) = &told {
            // It asks for a permit before every turn, so it admits nothing wrong; but what it holds back it holds until it is
            // told that the gate opened.
            warn!(%error, "the dispatcher was not told that the gate moved; it is told again");
        }
        self.change_untold = told.is_err();
        self.touch();
    }

    fn touch(&self) {
        if let Err(error) = self.ports.status.tell(StatusTouched) {
            tracing::debug!(%error, "the status was not told");
        }
    }

    fn view(&self) -> DrainView {
        let now = Instant::now();
        let turns: Vec<_> = self.gate.turns();
        let ages: Vec<_> = turns.iter().map(|turn| millis(now.saturating_duration_since(turn.since))).collect();
        let shown = turns.iter().zip(&ages).map(|(turn, age)| TurnInFlight {
            turn_id: turn.ticket.id,
            profile: turn.ticket.profile.clone(),
            session_key: turn.ticket.session.text(),
            age_ms: *age,
        });
        self.gate.look(|plan| DrainView {
            draining: plan.is_draining() || plan.is_stopping(),
            stopping: plan.is_stopping(),
            requested_at: plan.gateway().and_then(|drain| drain.requested_at.clone()),
            principal: plan.gateway().and_then(|drain| drain.principal.clone()),
            age_ms: plan.gateway().map(|drain| millis(now.saturating_duration_since(drain.since))),
            profiles: plan.profiles(),
            active_agents: turns.len(),
            oldest_turn_ms: ages.iter().max().copied(),
            turns: shown.collect(),
            waited_for: turns.iter().filter(|turn| !plan.asked_by(turn.ticket.id)).count(),
            suppress_notification: plan.gateway().is_some_and(|drain| drain.suppressed),
            file_events: self.watch.as_ref().is_some_and(Watch::is_whole),
        })
    }

    fn wake_waiters(&mut self) {
        if self.waiters.is_empty() {
            return;
        }
        let view = self.view();
        let left = |waiter: &mut Waiter| if waiter.askers_too { view.active_agents } else { view.waited_for };
        for waiter in self.waiters.extract_if(.., |waiter| left(waiter) == 0) {
            // One that no longer waits need not know.
            let _ = waiter.woken.send(());
        }
    }

    /// Ends what is past its deadline; after a reading, so that a marker of somebody else, which may have none, has its say.
    fn end_overdue(&mut self, read: &Scope, ctx: &mut Context<Self>) {
        if self.markers.has_orders(read) {
            // The removal may itself stand in line, behind a slow disk: the next poll looks again.
            return;
        }
        for scope in self.gate.look(|plan| plan.overdue(Timestamp::now())).into_iter().filter(|scope| scope == read) {
            let ended = scope.clone();
            let then = move |actor: &mut Self, removed: io::Result<u64>| match removed {
                Ok(asked) => {
                    let change = actor.gate.change(actor.keeper(), |plan| plan.removed(&scope, asked));
                    actor.stuck.remove(&scope);
                    if change == Some(Change::Ended) {
                        info!(?scope, by = "deadline", "drain.ended");
                        actor.tell_change();
                    }
                }
                Err(error) if actor.stuck.insert(scope.clone()) => {
                    error!(?scope, %error, "a drain is past its deadline and its marker cannot be removed; it goes on");
                }
                Err(_) => {}
            };
            self.remove(&ended, then, ctx);
        }
    }

    /// Removes the marker of `scope`, after every order before this one. `then` gets the stamp at which it was asked.
    fn remove(
        &mut self,
        scope: &Scope,
        then: impl FnOnce(&mut Self, io::Result<u64>) + Send + 'static,
        ctx: &mut Context<Self>,
    ) {
        let asked = self.gate.look(GatePlan::orders);
        self.order(scope, store::remove, move |actor, removed| then(actor, removed.map(|_| asked)), ctx);
    }
}

impl Actor for DrainActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let released = self.released.clone();
        // When it is not taken the poll sees to those who wait.
        self.gate.adopt(self.keeper(), move || {
            let _ = released.tell(TurnReleased);
        });
        self.watch = self.settings.events.clone().map(|events| Watch::new(events, self.own.clone()));
        self.watch_homes();
        self.reread(ctx);
        ctx.run_interval(POLL, |actor, ctx| {
            if actor.change_untold {
                actor.tell_change();
            }
            actor.reread(ctx);
            actor.notice_hanging();
            // Also for those who wait for a turn whose incarnation was cut off: nobody tells of that.
            actor.wake_waiters();
        });
    }
}

/// Whoever touches the marker of this home.
fn worker(scope: &Scope, home: &Path) -> FileWorker {
    let owner = if *scope == Scope::Gateway { Owner::Gateway } else { Owner::Profile };
    FileWorker::of(home, Purpose::Marker, owner)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
