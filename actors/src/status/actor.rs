//! Keeps the status up to date: queries the actors after a change, and sends snapshots to the subscribers.
//!
//! Owns the last [`Snapshot`]. Every actor notifies it of changes; it queries their views. Changes close together make one
//! snapshot. A restart loses the subscribers, who are disconnected and subscribe again, and the snapshot, which is rebuilt by queries.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, WrapFuture};
use futures_util::future::join_all;
use tokio::sync::oneshot;
use tracing::debug;

use super::listener::Listener;
use super::platforms;
use super::process;
pub use super::views::ViewMemory;
use super::views::Views;
use crate::config::messages::{InForce, SettingsChanged};
use crate::counts::CountBy;
use crate::locked::locked;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::config::{ConfigView, GetConfig};
use caduceus_contract::messages::dispatch::{DispatchView, GetDispatch};
use caduceus_contract::messages::drain::{DrainView, GetDrain};
use caduceus_contract::messages::honcho::{GetGrants, GrantView};
use caduceus_contract::messages::ledger::{GetLedger, LedgerView};
use caduceus_contract::messages::profile::{GetProfile, ProfileView};
use caduceus_contract::messages::relay::{GetLink, LinkState, LinkView};
use caduceus_contract::messages::status::{GetSnapshot, Phase, SnapshotChanged, StatusTouched, Subscribe};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::status::readiness::ReadinessLevel;
use caduceus_contract::status::snapshot::{ProcessView, Snapshot, Totals};
use caduceus_contract::status::words;
use caduceus_contract::status::words::ProcessPhase;
use caduceus_supervision::{AskError, Board, ChildState, Port, ResponseFuture, StartContext, TreeNode};

/// How long changes are collected before a snapshot is made: too short to notice, long enough for a burst.
const GATHER: Duration = Duration::from_millis(25);
/// Interval of snapshots without a change: ages and memory change by themselves.
const TICK: Duration = Duration::from_secs(1);
/// Timeout of an actor's view; after that its last view is shown.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The settings of the status.
#[derive(Debug, Clone)]
pub struct StatusSettings {
    /// The settings in force.
    pub in_force: Arc<InForce>,
    /// The start time of the process.
    pub started: Instant,
    /// The phase of the process; outlives every incarnation of the actor.
    pub phase: PhaseMemory,
    /// The last view of every actor; outlives every incarnation as well.
    pub views: ViewMemory,
    /// Receivers outside the tree of every snapshot.
    pub listener: Listener,
}

/// The phase of the process, and the reason of its end.
#[derive(Debug, Clone)]
pub struct PhaseMemory(Arc<Mutex<(ProcessPhase, Option<String>)>>);

impl Default for PhaseMemory {
    fn default() -> Self {
        Self(Arc::new(Mutex::new((ProcessPhase::Starting, None))))
    }
}

impl PhaseMemory {
    fn get(&self) -> (ProcessPhase, Option<String>) {
        locked(&self.0).clone()
    }

    fn set(&self, news: Phase) {
        *locked(&self.0) = (news.phase, news.exit_reason);
    }
}

/// Where the status sends its queries.
#[derive(Clone)]
pub struct StatusPorts {
    /// The gate.
    pub drain: Port<GetDrain>,
    /// The dispatcher.
    pub dispatch: Port<GetDispatch>,
    /// The ledger.
    pub ledger: Port<GetLedger>,
    /// The grants.
    pub honcho: Port<GetGrants>,
    /// The settings.
    pub config: Port<GetConfig>,
    /// The links.
    pub links: Vec<(LinkId, Port<GetLink>)>,
    /// Children started, counted by the profiles.
    pub agents_started: CountBy<ProfileName>,
    /// Tokens exchanged, counted by the actor of the grants.
    pub exchanges: CountBy<(PathBuf, String)>,
}

/// The actor of the status.
pub struct StatusActor {
    settings: StatusSettings,
    ports: StatusPorts,
    board: Board,
    own: Port<StatusTouched>,
    snapshot: Arc<Snapshot>,
    subscribers: Vec<Port<SnapshotChanged>>,
    /// A snapshot is being made, or about to be.
    busy: bool,
    /// Something changed while it was being made.
    dirty: bool,
    /// Number of snapshots begun.
    begun: u64,
    /// The callers that wait for the snapshot of this number.
    awaited: Vec<(u64, oneshot::Sender<()>)>,
}

impl StatusActor {
    /// A status of the tree on `board`.
    #[must_use]
    pub fn new(settings: StatusSettings, ports: StatusPorts, board: Board, start: &StartContext<Self>) -> Self {
        let snapshot = Arc::new(build(&settings, &ports, &mut settings.views.lock(), &board, None));
        Self {
            settings,
            ports,
            board,
            own: start.own(),
            snapshot,
            subscribers: Vec::new(),
            busy: false,
            dirty: false,
            begun: 0,
            awaited: Vec::new(),
        }
    }

    /// Makes a snapshot at once; a change meanwhile, or shortly after, makes one more.
    fn gather(&mut self, ctx: &mut Context<Self>) {
        if self.busy {
            self.dirty = true;
            return;
        }
        self.busy = true;
        self.begun += 1;
        let number = self.begun;
        let asked = ask_everyone(self.ports.clone(), self.settings.clone(), self.board.snapshot());
        ctx.spawn(asked.into_actor(self).map(move |answers, actor, ctx| {
            answers.store(&mut actor.settings.views.lock());
            actor.publish();
            for (_, waiter) in actor.awaited.extract_if(.., |(awaited, _)| *awaited <= number) {
                // The caller's timeout may have passed.
                let _ = waiter.send(());
            }
            ctx.run_later(GATHER, |actor, ctx| {
                actor.busy = false;
                if std::mem::take(&mut actor.dirty) {
                    actor.gather(ctx);
                }
            });
        }));
    }

    fn publish(&mut self) {
        let before = Some(&*self.snapshot);
        let views = &mut self.settings.views.lock();
        self.snapshot = Arc::new(build(&self.settings, &self.ports, views, &self.board, before));
        self.settings.listener.tell(&self.snapshot);
        let news = SnapshotChanged(Arc::clone(&self.snapshot));
        self.subscribers.retain(|subscriber| subscriber.tell(news.clone()).is_ok());
    }
}

/// The answers of all actors, each with the queried incarnation.
struct ViewAnswers {
    drain: Answer<DrainView>,
    dispatch: Answer<DispatchView>,
    ledger: Answer<LedgerView>,
    grants: Answer<Vec<GrantView>>,
    config: Answer<ConfigView>,
    profiles: Vec<(ProfileName, Answer<ProfileView>)>,
    links: Vec<(LinkId, Answer<LinkView>)>,
    process: Option<ProcessView>,
}

type Answer<T> = (Result<T, AskError>, u64);

/// Queries the actor at `node`, unless it is down: the query would wait for its successor.
async fn ask<M>(port: &Port<M>, message: M, node: Option<&TreeNode>) -> Answer<M::Result>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    let generation = node.map_or(0, |node| node.generation);
    let down = |node: &TreeNode| {
        matches!(node.state, ChildState::Failed | ChildState::Stopped | ChildState::Backoff | ChildState::Stopping)
    };
    match node {
        Some(node) if down(node) => (Err(AskError::Closed), generation),
        _ => (port.ask(message, TIMEOUT).await, generation),
    }
}

async fn ask_everyone(ports: StatusPorts, settings: StatusSettings, tree: TreeNode) -> ViewAnswers {
    let (served, started) = (&settings.in_force.profiles, settings.started);
    let node = |path: &str| tree.find(path);
    let profiles = served.iter().map(|profile| async {
        let node = node(&format!("profiles/{}", profile.name));
        (profile.name.clone(), ask(&profile.ports.view, GetProfile, node).await)
    });
    let links = ports.links.iter().map(|(id, port)| async {
        let node = node(&format!("relays/{}", id.0));
        (id.clone(), ask(port, GetLink, node).await)
    });
    let (drain, dispatch, ledger, grants, config, profiles, links, process) = futures_util::join!(
        ask(&ports.drain, GetDrain, node("drain")),
        ask(&ports.dispatch, GetDispatch, node("dispatch")),
        ask(&ports.ledger, GetLedger, node("ledger")),
        ask(&ports.honcho, GetGrants, node("honcho")),
        ask(&ports.config, GetConfig, node("config")),
        join_all(profiles),
        join_all(links),
        tokio::task::spawn_blocking(move || process::view(started)),
    );
    ViewAnswers { drain, dispatch, ledger, grants, config, profiles, links, process: process.ok() }
}

impl ViewAnswers {
    /// An actor that did not answer keeps its last view.
    fn store(self, views: &mut Views) {
        views.drain.store(self.drain.0, self.drain.1);
        views.dispatch.store(self.dispatch.0, self.dispatch.1);
        views.ledger.store(self.ledger.0, self.ledger.1);
        views.grants.store(self.grants.0, self.grants.1);
        views.config.store(self.config.0, self.config.1);
        for (name, (answer, generation)) in self.profiles {
            views.profiles.entry(name).or_default().store(answer.map(Some), generation);
        }
        for (id, (answer, generation)) in self.links {
            let known = views.links.entry(id).or_default();
            let answer = answer.map(|mut view| {
                // A new incarnation does not have its configuration yet.
                if view.platforms.is_empty()
                    && view.state != LinkState::Disabled
                    && let Some(before) = known.value()
                {
                    view.platforms.clone_from(&before.platforms);
                }
                Some(view)
            });
            known.store(answer, generation);
        }
        views.process = self.process.or(views.process);
    }
}

fn build(
    settings: &StatusSettings,
    ports: &StatusPorts,
    views: &mut Views,
    board: &Board,
    before: Option<&Snapshot>,
) -> Snapshot {
    let (phase, exit_reason) = settings.phase.get();
    let (actors, moment, started) = (board.snapshot(), Instant::now(), settings.started);
    let served: Vec<ProfileName> = settings.in_force.profiles.iter().map(|served| served.name.clone()).collect();
    views.profiles.retain(|name, _| served.contains(name));
    let state = words::state(phase, views.drain.value());
    let now = jiff::Timestamp::now().to_string();
    let updated_at =
        before.filter(|before| before.gateway_state == state).map(|before| before.gateway_updated_at.clone());
    let active = views.drain.value().active_agents;
    let profiles = served.iter().map(|name| {
        let known = views.profiles.get(name).cloned().unwrap_or_default();
        let view = known.value().clone().unwrap_or_else(|| ProfileView::not_reported(name.clone()));
        known.shown(view, actors.find(&format!("profiles/{name}")), moment, started)
    });
    let secrets = profiles.collect();
    let links = ports.links.iter().map(|(id, _)| {
        let known = views.links.get(id).cloned().unwrap_or_default();
        let view = known.value().clone().unwrap_or_else(|| LinkView::not_reported(id.clone()));
        known.shown(view, actors.find(&format!("relays/{}", id.0)), moment, started)
    });
    let links: Vec<_> = links.collect();
    let grants_actor = actors.find("honcho");
    let grants =
        views.grants.value().iter().map(|grant| views.grants.shown(grant.clone(), grants_actor, moment, started));
    let ages = [
        ("drain", views.drain.stale_ms(actors.find("drain"), moment, started)),
        ("dispatch", views.dispatch.stale_ms(actors.find("dispatch"), moment, started)),
        ("ledger", views.ledger.stale_ms(actors.find("ledger"), moment, started)),
        ("honcho", views.grants.stale_ms(grants_actor, moment, started)),
        ("config", views.config.stale_ms(actors.find("config"), moment, started)),
    ];
    let mut snapshot = Snapshot {
        version: env!("CARGO_PKG_VERSION"),
        gateway_running: phase != ProcessPhase::Stopped,
        gateway_state: state,
        gateway_updated_at: updated_at.unwrap_or_else(|| now.clone()),
        gateway_exit_reason: exit_reason,
        gateway_platforms: platforms::of(&links, &actors, &now, before.map(|before| &before.gateway_platforms)),
        active_agents: active,
        gateway_busy: words::busy(Some(state), true, active as u64),
        gateway_drainable: words::drainable(Some(state), true),
        restart_drain_timeout: settings.in_force.settings.values.drain.timeout.as_secs(),
        active_sessions: views.dispatch.value().sessions,
        profiles: served,
        readiness: ReadinessLevel::NotReady,
        not_ready: None,
        issues: Vec::new(),
        stale: ages.into_iter().filter_map(|(name, age)| Some((name, age?))).collect(),
        configuration: views.config.value().clone(),
        drain: views.drain.value().clone(),
        relay: links,
        honcho: grants.collect(),
        turns: views.dispatch.value().clone(),
        ledger: views.ledger.value().clone(),
        secrets,
        actors,
        process: views.process.unwrap_or_else(|| process::bare(settings.started)),
        phase,
        totals: Totals { agents_started: ports.agents_started.total(), exchanges: ports.exchanges.total() },
    };
    let verdict = snapshot.judged_by(&snapshot.drain);
    snapshot.not_ready = verdict.refusal();
    (snapshot.readiness, snapshot.issues) = (verdict.readiness, verdict.issues);
    snapshot
}

impl Actor for StatusActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // During the start of the tree there is no actor to query yet.
        if self.settings.phase.get().0 != ProcessPhase::Starting {
            self.gather(ctx);
        }
        ctx.run_interval(TICK, Self::gather);
        let (mut changes, own) = (self.board.changes(), self.own.clone());
        let follow = async move {
            while changes.changed().await.is_ok() {
                if let Err(error) = own.tell(StatusTouched) {
                    debug!(%error, "change of the tree delayed until the next tick");
                }
            }
        };
        ctx.spawn(follow.into_actor(self));
    }
}

impl Handler<StatusTouched> for StatusActor {
    type Result = ();

    fn handle(&mut self, _: StatusTouched, ctx: &mut Self::Context) {
        self.gather(ctx);
    }
}

impl Handler<SettingsChanged> for StatusActor {
    type Result = ();

    fn handle(&mut self, SettingsChanged(in_force): SettingsChanged, ctx: &mut Self::Context) {
        self.settings.in_force = in_force;
        self.gather(ctx);
    }
}

impl Handler<Phase> for StatusActor {
    type Result = ResponseFuture<()>;

    /// Answered once all actors were queried in the new phase and the snapshot is made.
    fn handle(&mut self, news: Phase, ctx: &mut Self::Context) -> Self::Result {
        let is_up = news.phase == ProcessPhase::Running;
        self.settings.phase.set(news);
        // `running` is reported only after a query of all actors; every other phase at once.
        if !is_up {
            self.publish();
        }
        let (waiter, made) = oneshot::channel();
        self.awaited.push((self.begun + 1, waiter));
        self.gather(ctx);
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
    type Result = MessageResult<Subscribe>;

    fn handle(&mut self, subscribe: Subscribe, _: &mut Self::Context) -> Self::Result {
        self.subscribers.push(subscribe.to);
        MessageResult(Arc::clone(&self.snapshot))
    }
}
