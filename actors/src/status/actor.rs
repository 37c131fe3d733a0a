//! Keeps the status up to date: queries the actors after a change, and sends snapshots to the subscribers.
//!
//! Owns the last [`Snapshot`]. Every actor notifies it of changes; it queries their views. Changes close together make one
//! snapshot. A restart loses the subscribers, who are disconnected and subscribe again, and the snapshot, which is rebuilt by queries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, WrapFuture};
use tokio::sync::oneshot;

use super::build::build;
pub use super::queries::StatusPorts;
use super::queries::query_all;
pub use super::settings::{PhaseMemory, StatusSettings};
pub use super::views::ViewMemory;
use crate::config::messages::SettingsChanged;
use caduceus_contract::messages::status::{
    GetSnapshot, Phase, RefreshSnapshot, SnapshotChanged, StatusTouched, Subscribe,
};
use caduceus_contract::status::lifecycle::ProcessPhase;
use caduceus_contract::status::snapshot::Snapshot;
use caduceus_supervision::{Board, Port, ResponseFuture, Tree};

/// Pause after a snapshot. With those of [`HURRY_EVERY`] fewer than ten are made in a second, however much changes, so that the limit
/// of the memory is reached only by restarts and changes of the phase.
const PAUSE: Duration = Duration::from_millis(112);
/// The same while the tree starts.
const STARTING_PAUSE: Duration = Duration::from_millis(500);
/// How often a caller has a snapshot made during the pause: one that asks rarely, such as a probe, does not wait for it.
const HURRY_EVERY: Duration = Duration::from_secs(1);
/// A snapshot of this age is replaced when it is requested: ages and memory change by themselves.
const MAX_AGE: Duration = Duration::from_secs(1);
/// Interval of snapshots that nothing requested, for a change that no actor reports.
const TICK: Duration = Duration::from_secs(10);

/// The actor of the status.
pub struct StatusActor {
    settings: StatusSettings,
    ports: StatusPorts,
    board: Board,
    snapshot: Arc<Snapshot>,
    subscribers: Vec<Port<SnapshotChanged>>,
    gathering: Gathering,
    /// Another snapshot follows the pause.
    is_due: bool,
    /// Number of snapshots begun.
    begun: u64,
    /// Number of changes that the snapshot last begun includes.
    included: u64,
    /// The number of the first snapshot that is begun without a pause.
    urgent: u64,
    /// When a snapshot was last begun for a caller during a pause.
    hurried: Option<Instant>,
    /// The callers that wait for the snapshot of this number.
    awaited: Vec<(u64, oneshot::Sender<Arc<Snapshot>>)>,
}

/// The stage of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gathering {
    Idle,
    /// The actors are being queried.
    Querying,
    /// The pause after the snapshot of this number.
    Pausing(u64),
}

impl StatusActor {
    /// A status of the tree on `board`.
    #[must_use]
    pub fn new(settings: StatusSettings, ports: StatusPorts, board: Board) -> Self {
        let mut views = settings.views.lock();
        views.profiles.serve(settings.in_force.profiles.iter().map(|served| &served.name));
        views.profiles.unsettle_all();
        let snapshot = Arc::new(build(&settings, &ports, &mut views, &board.snapshot(), 0));
        drop(views);
        Self {
            settings,
            ports,
            board,
            snapshot,
            subscribers: Vec::new(),
            gathering: Gathering::Idle,
            is_due: false,
            begun: 0,
            included: 0,
            urgent: 0,
            hurried: None,
            awaited: Vec::new(),
        }
    }

    /// Makes a snapshot at once, or after the pause that follows the last one.
    fn gather(&mut self, ctx: &mut Context<Self>) {
        if self.gathering == Gathering::Idle {
            self.gather_now(ctx);
        } else {
            self.is_due = true;
        }
    }

    /// Makes a snapshot at once, unless ten were made in the last second: then as soon as another one may be made.
    fn gather_now(&mut self, ctx: &mut Context<Self>) {
        let mut views = self.settings.views.lock();
        let now = Instant::now();
        let wait = views.limit.wait(now, false);
        if !wait.is_zero() {
            drop(views);
            self.is_due = true;
            self.settings.changes.delay_until(now + wait);
            return self.pause_for(wait, self.begun, ctx);
        }
        self.gathering = Gathering::Querying;
        self.is_due = false;
        self.begun += 1;
        let (included, touched) = self.settings.changes.take();
        self.included = included;
        let (number, version) = (self.begun, self.board.version());
        let tree = self.board.snapshot();
        let StatusSettings { in_force, started, .. } = &self.settings;
        views.profiles.read(&tree);
        let port_of = |place: usize| in_force.profiles.get(place).map(|served| served.ports.view.clone());
        let profiles = views.profiles.queries(touched, port_of, &tree, Instant::now());
        drop(views);
        let queries = query_all(self.ports.clone(), profiles, *started, tree.clone());
        ctx.spawn(queries.into_actor(self).map(move |answers, actor, ctx| {
            answers.store(&mut actor.settings.views.lock());
            // Read again only if a child has changed meanwhile.
            let tree = (actor.board.version() == version).then_some(tree);
            actor.publish(tree, included);
            for (_, waiter) in actor.awaited.extract_if(.., |(awaited, _)| *awaited <= number) {
                // The caller's timeout may have passed.
                let _ = waiter.send(Arc::clone(&actor.snapshot));
            }
            if actor.urgent > number {
                actor.gather_now(ctx);
            } else {
                actor.pause(number, ctx);
            }
        }));
    }

    fn pause(&mut self, number: u64, ctx: &mut Context<Self>) {
        let is_starting = self.settings.phase.get().0 == ProcessPhase::Starting;
        self.pause_for(if is_starting { STARTING_PAUSE } else { PAUSE }, number, ctx);
    }

    fn pause_for(&mut self, length: Duration, number: u64, ctx: &mut Context<Self>) {
        self.gathering = Gathering::Pausing(number);
        ctx.run_later(length, move |actor, ctx| actor.end_pause(number, ctx));
    }

    fn end_pause(&mut self, number: u64, ctx: &mut Context<Self>) {
        if self.gathering == Gathering::Pausing(number) {
            self.gathering = Gathering::Idle;
            if self.is_due {
                self.gather_now(ctx);
            }
        }
    }

    /// Waits for the snapshot of this `number`.
    fn wait_for(&mut self, number: u64) -> oneshot::Receiver<Arc<Snapshot>> {
        let (waiter, made) = oneshot::channel();
        self.awaited.push((number, waiter));
        made
    }

    /// Waits for a snapshot that is begun after this moment, and begins it without the pause.
    fn urgent_snapshot(&mut self, ctx: &mut Context<Self>) -> oneshot::Receiver<Arc<Snapshot>> {
        self.urgent = self.begun + 1;
        let made = self.wait_for(self.urgent);
        if self.gathering != Gathering::Querying {
            self.gather_now(ctx);
        }
        made
    }

    /// The next snapshot, or the one that is being made if it includes all changes.
    fn next_snapshot(&mut self, ctx: &mut Context<Self>) -> ResponseFuture<Arc<Snapshot>> {
        let (last, reported) = (Arc::clone(&self.snapshot), self.settings.changes.reported());
        let is_included = self.gathering == Gathering::Querying && self.included == reported;
        let may_hurry = self.hurried.is_none_or(|at| at.elapsed() >= HURRY_EVERY);
        let made = if is_included {
            self.wait_for(self.begun)
        } else if self.gathering != Gathering::Idle && may_hurry {
            self.hurried = Some(Instant::now());
            self.urgent_snapshot(ctx)
        } else {
            let made = self.wait_for(self.begun + 1);
            self.gather(ctx);
            made
        };
        ResponseFuture::new(async move { made.await.unwrap_or(last) })
    }

    fn publish(&mut self, tree: Option<Tree>, included: u64) {
        let mut views = self.settings.views.lock();
        let tree = tree.unwrap_or_else(|| self.board.snapshot());
        self.snapshot = Arc::new(build(&self.settings, &self.ports, &mut views, &tree, included));
        self.settings.listener.tell(&self.snapshot);
        let change = SnapshotChanged(Arc::clone(&self.snapshot));
        self.subscribers.retain(|subscriber| subscriber.tell(change.clone()).is_ok());
        // After the snapshot was sent, so that each receiver gets ten in a second at most.
        views.limit.made(Instant::now());
    }

    /// Whether a snapshot beside the one that is being made may be made now.
    fn may_publish(&self) -> bool {
        let is_begun = self.gathering == Gathering::Querying;
        self.settings.views.lock().limit.wait(Instant::now(), is_begun).is_zero()
    }
}

impl Actor for StatusActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // During the start of the tree there is no actor to query yet, and each child that starts is a change.
        if self.settings.phase.get().0 == ProcessPhase::Starting {
            self.is_due = true;
            self.pause(0, ctx);
        } else {
            self.gather(ctx);
        }
        ctx.run_interval(TICK, Self::gather);
    }
}

impl Handler<StatusTouched> for StatusActor {
    type Result = ();

    fn handle(&mut self, _: StatusTouched, ctx: &mut Self::Context) {
        // Also if the last snapshot includes the change already: only a snapshot clears the flag.
        self.gather(ctx);
    }
}

impl Handler<RefreshSnapshot> for StatusActor {
    type Result = ResponseFuture<Arc<Snapshot>>;

    fn handle(&mut self, _: RefreshSnapshot, ctx: &mut Self::Context) -> Self::Result {
        let last = &self.snapshot;
        if last.changes == self.settings.changes.reported() && last.made.elapsed() < MAX_AGE {
            return ResponseFuture::ready(Arc::clone(last));
        }
        self.next_snapshot(ctx)
    }
}

impl Handler<SettingsChanged> for StatusActor {
    type Result = ();

    fn handle(&mut self, SettingsChanged(in_force): SettingsChanged, _: &mut Self::Context) {
        self.settings.views.lock().profiles.serve(in_force.profiles.iter().map(|served| &served.name));
        self.settings.in_force = in_force;
        self.settings.changes.report();
    }
}

impl Handler<Phase> for StatusActor {
    type Result = ResponseFuture<()>;

    /// Answered once all actors were queried in the new phase and the snapshot is made.
    fn handle(&mut self, phase: Phase, ctx: &mut Self::Context) -> Self::Result {
        let is_up = phase.phase == ProcessPhase::Running;
        self.settings.phase.set(phase);
        // `running` is reported only after a query of all actors; every other phase at once.
        if !is_up && self.may_publish() {
            self.publish(None, self.snapshot.changes);
        }
        let made = self.urgent_snapshot(ctx);
        ResponseFuture::new(async move {
            // A restarted actor has a new incarnation, which queries again.
            let _ = made.await;
        })
    }
}

impl Handler<GetSnapshot> for StatusActor {
    type Result = MessageResult<GetSnapshot>;

    fn handle(&mut self, _: GetSnapshot, _: &mut Self::Context) -> Self::Result {
        MessageResult(Arc::clone(&self.snapshot))
    }
}

impl Handler<Subscribe> for StatusActor {
    type Result = ResponseFuture<Arc<Snapshot>>;

    fn handle(&mut self, subscribe: Subscribe, ctx: &mut Self::Context) -> Self::Result {
        self.subscribers.push(subscribe.to);
        // What has changed since follows as any other change.
        if self.snapshot.made.elapsed() < MAX_AGE {
            return ResponseFuture::ready(Arc::clone(&self.snapshot));
        }
        self.next_snapshot(ctx)
    }
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
