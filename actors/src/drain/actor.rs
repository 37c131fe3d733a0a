//! The one authority on whether a turn may start.
//!
//! Owns the [`Gate`] for as long as it is its keeper, and the watch on the markers. Told by the dispatcher (permits), HTTP (begin,
//! cancel), file events and a slow poll; tells the dispatcher and the status when the gate moves. A restart loses
//! nothing of the gate, but the writes and removals of markers that still stand in line: those who asked are told that theirs
//! was not done. Those who await the end of a drain ask again.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, Response, ResponseFuture, WrapFuture,
};
use jiff::Timestamp;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::epoch::{self, Epoch};
use super::line::{Line, Step};
use super::marker::{Marker, MarkerReading};
use super::messages::{
    AwaitDrained, BeginDrain, BeginShutdown, CancelDrain, CancelError, DrainBegun, DrainCancelled, DrainChanged,
    DrainView, GetDrain, ListTurns, Refusal, RequestPermit, RunningTurn, TurnInFlight,
};
use super::permit::{Gate, TurnPermit};
use super::plan::{Change, Drain, Scope};
use super::store;
use super::watch::{MarkerTouched, Watch};
use crate::config::messages::InForce;
use crate::files::FileEvents;
use crate::profile::name::ProfileName;
use crate::status::messages::StatusTouched;
use crate::supervision::{Birth, Life, Port};

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
    life: Life,
    own: Port<MarkerTouched>,
    released: Port<TurnReleased>,
    epoch: Option<Epoch>,
    /// Whatever is done to the markers.
    line: Line<DiskOrder>,
    pub(super) watch: Option<Watch>,
    /// Questions that came before the markers were first read.
    early: Vec<(RequestPermit, oneshot::Sender<Result<TurnPermit, Refusal>>)>,
    read_once: bool,
    waiters: Vec<oneshot::Sender<()>>,
    /// So that a marker from an earlier life of the machine is mentioned once.
    stale_told: bool,
    /// The gate moved and its mailbox did not take the news: told again with the next poll.
    change_untold: bool,
    /// Counts the sets of homes that there were.
    pub(super) homes_version: u64,
    /// Those who wait until every marker of a set of homes, or of a later one, was read.
    pub(super) homes_waiters: Vec<(u64, oneshot::Sender<()>)>,
}

/// What is to be done to a marker off the arbiters, and what follows from it here. The work answers whether it met, or left, a
/// marker.
struct DiskOrder {
    work: Box<dyn FnOnce() -> io::Result<bool> + Send>,
    then: Then,
}

type Then = Box<dyn FnOnce(&mut DrainActor, io::Result<bool>) + Send>;

/// News from a permit that was dropped.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct TurnReleased;

impl DrainActor {
    /// A keeper for `gate`.
    #[must_use]
    pub fn new(gate: Gate, settings: DrainSettings, ports: DrainPorts, birth: &Birth<Self>) -> Self {
        Self {
            gate,
            settings,
            ports,
            life: birth.life().clone(),
            own: birth.own(),
            released: birth.own(),
            epoch: None,
            line: Line::new(),
            watch: None,
            early: Vec::new(),
            read_once: false,
            waiters: Vec::new(),
            stale_told: false,
            change_untold: false,
            homes_version: 0,
            homes_waiters: Vec::new(),
        }
    }

    pub(super) fn keeper(&self) -> u64 {
        self.life.generation()
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
        self.line.ask_reading();
        self.go_on(ctx);
    }

    /// Has this order carried out after all those before it: its place in line is taken here and now, not at the first poll
    /// of some future.
    fn order(
        &mut self,
        work: impl FnOnce() -> io::Result<bool> + Send + 'static,
        then: impl FnOnce(&mut Self, io::Result<bool>) + Send + 'static,
        ctx: &mut Context<Self>,
    ) {
        self.line.push(DiskOrder { work: Box::new(work), then: Box::new(then) });
        self.go_on(ctx);
    }

    /// Begins what is next at the markers, if nothing is under way there.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        match self.line.next() {
            Some(Step::Order(order)) => self.carry_out(order, ctx),
            Some(Step::Read) => self.read(ctx),
            None => {}
        }
    }

    fn carry_out(&mut self, order: DiskOrder, ctx: &mut Context<Self>) {
        let DiskOrder { work, then } = order;
        let working = tokio::task::spawn_blocking(work);
        ctx.spawn(working.into_actor(self).map(move |done, actor, ctx| {
            then(actor, done.expect("writing or removing a marker does not panic"));
            actor.line.done();
            actor.go_on(ctx);
        }));
    }

    fn read(&mut self, ctx: &mut Context<Self>) {
        let homes = self.homes();
        let orders = self.gate.look(super::plan::Plan::orders);
        let known = self.epoch.clone();
        let version = self.homes_version;
        let reading = tokio::task::spawn_blocking(move || {
            let epoch = known.or_else(epoch::current);
            let found = homes.into_iter().map(|(scope, home)| (scope, store::read(&home, epoch.as_ref()))).collect();
            (epoch, found)
        });
        ctx.spawn(reading.into_actor(self).map(move |read, actor, ctx| {
            let (epoch, found): (_, Vec<_>) = read.expect("reading a marker does not panic");
            actor.epoch = epoch;
            for (scope, reading) in found {
                // A profile may have gone while its marker was read.
                if actor.home(&scope).is_some() {
                    actor.take_in(&scope, orders, reading.as_ref());
                }
            }
            actor.first_reading_done();
            actor.homes_were_read(version);
            actor.line.done();
            actor.go_on(ctx);
        }));
    }

    fn take_in(&mut self, scope: &Scope, orders: u64, reading: Option<&MarkerReading>) {
        if reading.is_some_and(|reading| reading.stale) && !self.stale_told {
            self.stale_told = true;
            info!(?scope, "a drain marker from an earlier life of the machine is ignored");
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
        if self.read_once {
            return;
        }
        self.read_once = true;
        for (question, answer) in std::mem::take(&mut self.early) {
            // An asker that has gone drops the permit, and so the count, at once.
            drop(answer.send(self.admit(question)));
        }
        self.life.ready();
    }

    fn admit(&self, question: RequestPermit) -> Result<TurnPermit, Refusal> {
        let permit = self.gate.admit(self.keeper(), question.ticket, question.origin)?;
        self.touch();
        Ok(permit)
    }

    pub(super) fn tell_change(&mut self) {
        let (draining, profiles) = self.gate.look(|plan| (plan.is_draining() || plan.is_stopping(), plan.profiles()));
        let told = self.ports.changes.tell(DrainChanged { draining, profiles });
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
        })
    }

    /// Whether no turn is left, those apart that themselves asked for the drain.
    fn is_drained(&self) -> bool {
        let turns = self.gate.turns();
        self.gate.look(|plan| turns.iter().all(|turn| plan.asked_by(turn.ticket.id)))
    }

    fn wake_waiters(&mut self) {
        if !self.waiters.is_empty() && self.is_drained() {
            for waiter in self.waiters.drain(..) {
                // One that no longer waits need not know.
                let _ = waiter.send(());
            }
        }
    }

    fn end_overdue(&mut self, ctx: &mut Context<Self>) {
        if self.line.has_orders() {
            // The removal may itself stand in line, behind a slow disk: the next poll looks again.
            return;
        }
        for scope in self.gate.look(|plan| plan.overdue(Timestamp::now())) {
            let ended = scope.clone();
            let then = move |actor: &mut Self, removed: io::Result<u64>| match removed {
                Ok(asked) => {
                    let change = actor.gate.change(actor.keeper(), |plan| plan.removed(&scope, asked));
                    if change == Some(Change::Ended) {
                        info!(?scope, by = "deadline", "drain.ended");
                        actor.tell_change();
                    }
                }
                Err(error) => error!(?scope, %error, "a drain is past its deadline and its marker cannot be removed"),
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
        let asked = self.gate.look(super::plan::Plan::orders);
        let home = self.home(scope);
        let work = move || home.map_or(Ok(false), |home| store::remove(&home));
        self.order(work, move |actor, removed| then(actor, removed.map(|_| asked)), ctx);
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
            actor.end_overdue(ctx);
            // Also for those who wait for a turn whose incarnation was cut off: nobody tells of that.
            actor.wake_waiters();
        });
    }
}

impl Handler<RequestPermit> for DrainActor {
    type Result = Response<Result<TurnPermit, Refusal>>;

    fn handle(&mut self, question: RequestPermit, _: &mut Self::Context) -> Self::Result {
        if self.read_once {
            return Response::reply(self.admit(question));
        }
        let (answer, answered) = oneshot::channel();
        self.early.push((question, answer));
        Response::fut(async move { answered.await.unwrap_or(Err(Refusal::Superseded)) })
    }
}

impl Handler<BeginDrain> for DrainActor {
    type Result = Response<DrainBegun>;

    fn handle(&mut self, order: BeginDrain, ctx: &mut Self::Context) -> Self::Result {
        let now = Timestamp::now();
        let scope = order.profile.map_or(Scope::Gateway, Scope::Profile);
        let deadline = order.deadline.and_then(|after| now.checked_add(after).ok());
        let marker = Marker {
            requested_at: now,
            principal: order.principal.clone(),
            epoch: self.epoch.clone(),
            suppress_notification: order.suppress_notification,
            deadline,
        };
        let requested_at = now.to_string();
        let drain = Drain {
            since: Instant::now(),
            requested_at: Some(requested_at.clone()),
            principal: Some(order.principal.clone()),
            suppressed: order.suppress_notification,
            deadline,
            turn: order.turn,
            durable: false,
            order: 0,
        };
        // The gate closes here and now; whether the disk takes the marker is another question.
        self.gate.change(self.keeper(), |plan| plan.begin(scope.clone(), drain));
        info!(?scope, principal = %order.principal, by = "message", "drain.begun");
        self.tell_change();

        let home = self.home(&scope);
        let (answer, answered) = oneshot::channel();
        let work = move || home.map_or(Ok(false), |home| store::write(&home, &marker).map(|()| true));
        let then = move |actor: &mut Self, written: io::Result<bool>| {
            let durable = written.unwrap_or_else(|error| {
                error!(?scope, %error, "the drain is on, but its marker cannot be written: a restart forgets it");
                false
            });
            if durable {
                actor.gate.change(actor.keeper(), |plan| plan.written(&scope));
            }
            // The asker may have gone; the drain holds all the same.
            let _ = answer.send(durable);
        };
        self.order(work, then, ctx);
        let gate = self.gate.clone();
        Response::fut(async move {
            let durable = answered.await.unwrap_or(false);
            DrainBegun { requested_at, active_agents: gate.count(), durable }
        })
    }
}

impl Handler<CancelDrain> for DrainActor {
    type Result = ResponseFuture<Result<DrainCancelled, CancelError>>;

    fn handle(&mut self, order: CancelDrain, ctx: &mut Self::Context) -> Self::Result {
        let scope = order.profile.map_or(Scope::Gateway, Scope::Profile);
        let (stopping, was_draining) = self.gate.look(|plan| (plan.is_stopping(), plan.covers(&scope)));
        if stopping {
            return Box::pin(async { Err(CancelError::Stopping) });
        }
        let (answer, answered) = oneshot::channel();
        self.gate.change(self.keeper(), |plan| plan.removing(&scope));
        let ended = scope.clone();
        let then = move |actor: &mut Self, removed: io::Result<u64>| {
            let result =
                removed.map_err(|error| CancelError::MarkerNotRemoved(error.kind().to_string())).map(|asked| {
                    if actor.gate.change(actor.keeper(), |plan| plan.removed(&scope, asked)) == Some(Change::Ended) {
                        info!(?scope, principal = %order.principal, by = "message", "drain.ended");
                        actor.tell_change();
                    }
                    DrainCancelled { was_draining }
                });
            drop(answer.send(result));
        };
        self.remove(&ended, then, ctx);
        Box::pin(async move {
            let gone = CancelError::MarkerNotRemoved("the gate was restarted".to_owned());
            answered.await.unwrap_or(Err(gone))
        })
    }
}

impl Handler<BeginShutdown> for DrainActor {
    type Result = MessageResult<BeginShutdown>;

    fn handle(&mut self, _: BeginShutdown, _: &mut Self::Context) -> Self::Result {
        self.gate.change(self.keeper(), super::plan::Plan::stop);
        self.tell_change();
        MessageResult(self.view())
    }
}

impl Handler<GetDrain> for DrainActor {
    type Result = MessageResult<GetDrain>;

    fn handle(&mut self, _: GetDrain, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.view())
    }
}

impl Handler<AwaitDrained> for DrainActor {
    type Result = actix::ResponseActFuture<Self, DrainView>;

    fn handle(&mut self, order: AwaitDrained, _: &mut Self::Context) -> Self::Result {
        let (waiter, woken) = oneshot::channel();
        self.waiters.push(waiter);
        self.wake_waiters();
        let wait = tokio::time::timeout(order.patience, woken);
        Box::pin(wait.into_actor(self).map(|_, actor, _| {
            actor.waiters.retain(|waiter| !waiter.is_closed());
            actor.view()
        }))
    }
}

impl Handler<ListTurns> for DrainActor {
    type Result = MessageResult<ListTurns>;

    fn handle(&mut self, _: ListTurns, _: &mut Self::Context) -> Self::Result {
        let running = |turn: super::permit::Permitted| RunningTurn { ticket: turn.ticket, stop: turn.stop };
        MessageResult(self.gate.turns().into_iter().map(running).collect())
    }
}

impl Handler<TurnReleased> for DrainActor {
    type Result = ();

    fn handle(&mut self, _: TurnReleased, _: &mut Self::Context) {
        self.wake_waiters();
        self.touch();
    }
}

impl Handler<MarkerTouched> for DrainActor {
    type Result = ();

    fn handle(&mut self, _: MarkerTouched, ctx: &mut Self::Context) {
        if let Some(watch) = &self.watch {
            watch.heard();
        }
        self.reread(ctx);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
