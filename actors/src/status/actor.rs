//! Keeps the status true: asks everyone when something changed, and tells whoever subscribed.
//!
//! Owns the last [`Snapshot`]. Told by every actor that something changed; asks them how they are. Many changes in a moment make one snapshot.
//! A restart loses the subscribers, who are cut off and come again, and the snapshot, which is rebuilt by asking.

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
use caduceus_contract::status::readiness::Readiness;
use caduceus_contract::status::snapshot::{ProcessView, Snapshot, Totals};
use caduceus_contract::status::words;
use caduceus_contract::status::words::ProcessPhase;
use caduceus_supervision::{AskError, Board, ChildState, Port, ResponseFuture, StartContext, TreeNode};

/// How long changes are gathered before a snapshot is made: too short to see, long enough for a burst.
const GATHER: Duration = Duration::from_millis(25);
/// How often a snapshot is made although nothing was said to have changed: ages and memory move by themselves.
const TICK: Duration = Duration::from_secs(1);
/// How long an actor may take to say how it is, before what it last said is shown.
const TIMEOUT: Duration = Duration::from_millis(500);

/// What the status needs to know of the process.
#[derive(Debug, Clone)]
pub struct StatusSettings {
    /// What is in force.
    pub in_force: Arc<InForce>,
    /// When the process started.
    pub started: Instant,
    /// Where the process is in its life; outlives any one incarnation of the actor.
    pub phase: PhaseMemory,
    /// What everyone last said; outlives it, too.
    pub views: ViewMemory,
    /// Who outside the tree hears of every snapshot.
    pub listener: Listener,
}

/// Where the process is in its life, and why it ended, where it did.
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

/// Whom the status asks.
#[derive(Clone)]
pub struct StatusPorts {
    /// The gate.
    pub drain: Port<GetDrain>,
    /// The dispatcher.
    pub dispatch: Port<GetDispatch>,
    /// The ledger.
    pub ledger: Port<GetLedger>,
    /// The keeper of the grants.
    pub honcho: Port<GetGrants>,
    /// The keeper of the settings.
    pub config: Port<GetConfig>,
    /// The links.
    pub links: Vec<(LinkId, Port<GetLink>)>,
    /// Children that the profiles started, counted by them.
    pub agents_started: CountBy<ProfileName>,
    /// Exchanges that the keeper of the grants made, counted by it.
    pub exchanges: CountBy<(PathBuf, String)>,
}

/// Keeps the status.
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
    /// Counts the snapshots that were begun.
    begun: u64,
    /// Who waits for the snapshot of this number.
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

    /// Makes a snapshot at once; what changes while it is made, or shortly after, makes one more.
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
            answers.remember(&mut actor.settings.views.lock());
            actor.publish();
            for (_, waiter) in actor.awaited.extract_if(.., |(awaited, _)| *awaited <= number) {
                // It may have given up.
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

/// What everyone answered, each with the incarnation that was asked.
struct Answers {
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

/// Asks the actor at `node`, unless it is down: its question would wait for a successor.
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

async fn ask_everyone(ports: StatusPorts, settings: StatusSettings, tree: TreeNode) -> Answers {
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
    Answers { drain, dispatch, ledger, grants, config, profiles, links, process: process.ok() }
}

impl Answers {
    /// One that did not answer keeps the place of what it last said.
    fn remember(self, views: &mut Views) {
        views.drain.hear(self.drain.0, self.drain.1);
        views.dispatch.hear(self.dispatch.0, self.dispatch.1);
        views.ledger.hear(self.ledger.0, self.ledger.1);
        views.grants.hear(self.grants.0, self.grants.1);
        views.config.hear(self.config.0, self.config.1);
        for (name, (answer, generation)) in self.profiles {
            views.profiles.entry(name).or_default().hear(answer.map(Some), generation);
        }
        for (id, (answer, generation)) in self.links {
            let known = views.links.entry(id).or_default();
            let answer = answer.map(|mut view| {
                // A new incarnation does not know yet what it is set up for.
                if view.platforms.is_empty()
                    && view.state != LinkState::Disabled
                    && let Some(before) = known.value()
                {
                    view.platforms.clone_from(&before.platforms);
                }
                Some(view)
            });
            known.hear(answer, generation);
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
        let view = known.value().clone().unwrap_or_else(|| ProfileView::unheard(name.clone()));
        known.shown(view, actors.find(&format!("profiles/{name}")), moment, started)
    });
    let secrets = profiles.collect();
    let links = ports.links.iter().map(|(id, _)| {
        let known = views.links.get(id).cloned().unwrap_or_default();
        let view = known.value().clone().unwrap_or_else(|| LinkView::unheard(id.clone()));
        known.shown(view, actors.find(&format!("relays/{}", id.0)), moment, started)
    });
    let links: Vec<_> = links.collect();
    let keeper = actors.find("honcho");
    let grants = views.grants.value().iter().map(|grant| views.grants.shown(grant.clone(), keeper, moment, started));
    let ages = [
        ("drain", views.drain.stale_ms(actors.find("drain"), moment, started)),
        ("dispatch", views.dispatch.stale_ms(actors.find("dispatch"), moment, started)),
        ("ledger", views.ledger.stale_ms(actors.find("ledger"), moment, started)),
        ("honcho", views.grants.stale_ms(keeper, moment, started)),
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
        readiness: Readiness::NotReady,
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
        // While the tree is being started there is nobody to ask yet.
        if self.settings.phase.get().0 != ProcessPhase::Starting {
            self.gather(ctx);
        }
        ctx.run_interval(TICK, Self::gather);
        let (mut changes, own) = (self.board.changes(), self.own.clone());
        let follow = async move {
            while changes.changed().await.is_ok() {
                if let Err(error) = own.tell(StatusTouched) {
                    debug!(%error, "a change of the tree waits for the next tick");
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

    /// Answered once everyone was asked in the new phase and the snapshot is made.
    fn handle(&mut self, news: Phase, ctx: &mut Self::Context) -> Self::Result {
        let is_up = news.phase == ProcessPhase::Running;
        self.settings.phase.set(news);
        // Who is up is not said before it is known how they are; every other step is known at once.
        if !is_up {
            self.publish();
        }
        let (waiter, made) = oneshot::channel();
        self.awaited.push((self.begun + 1, waiter));
        self.gather(ctx);
        ResponseFuture::new(async move {
            // An actor that fell has a successor that asks anew.
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
