//! Keeps the status true: asks everyone when something changed, and tells whoever subscribed.
//!
//! Owns the last [`Snapshot`]. Told by every actor that something changed; asks them how they are. Many changes in a moment make one snapshot.
//! A restart loses the subscribers, who are cut off and come again, and the snapshot, which is rebuilt by asking.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, WrapFuture};
use futures_util::future::join_all;
use tracing::debug;

use super::listener::Listener;
use super::messages::{GetSnapshot, Phase, ProcessPhase, SnapshotChanged, StatusTouched, Subscribe};
use super::process;
use super::snapshot::{PlatformView, ProcessView, Snapshot};
use super::words::{self, GatewayState};
use crate::config::messages::{ConfigView, GetConfig, InForce, SettingsChanged};
use crate::dispatch::messages::{DispatchView, GetDispatch};
use crate::drain::messages::{DrainView, GetDrain};
use crate::honcho::messages::{GetGrants, GrantView};
use crate::ledger::messages::{GetLedger, LedgerView};
use crate::profile::messages::{GetProfile, ProfileView};
use crate::relay::messages::{GetLink, LinkState, LinkView};
use crate::supervision::{Birth, Board, ChildState, Kind, Port};

/// How long changes are gathered before a snapshot is made: too short to see, long enough for a burst.
const GATHER: Duration = Duration::from_millis(25);
/// How often a snapshot is made although nothing was said to have changed: ages and memory move by themselves.
const TICK: Duration = Duration::from_secs(1);
/// How long an actor may take to say how it is, before what it last said is shown.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the status needs to know of the process.
#[derive(Debug, Clone)]
pub struct StatusSettings {
    /// What is in force.
    pub in_force: Arc<InForce>,
    /// When the process started.
    pub started: Instant,
    /// Where the process is in its life; outlives any one incarnation of the actor.
    pub phase: PhaseMemory,
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, news: Phase) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (news.phase, news.exit_reason);
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
    pub links: Vec<Port<GetLink>>,
}

/// Keeps the status.
pub struct StatusActor {
    settings: StatusSettings,
    ports: StatusPorts,
    board: Board,
    own: Port<StatusTouched>,
    views: Views,
    snapshot: Arc<Snapshot>,
    subscribers: Vec<Port<SnapshotChanged>>,
    /// A snapshot is being made, or about to be.
    busy: bool,
    /// Something changed while it was being made.
    dirty: bool,
}

/// What everyone last said.
#[derive(Debug, Clone, Default)]
struct Views {
    drain: DrainView,
    dispatch: DispatchView,
    ledger: LedgerView,
    grants: Vec<GrantView>,
    config: ConfigView,
    profiles: Vec<ProfileView>,
    links: Vec<LinkView>,
    process: Option<ProcessView>,
    /// Who did not answer this time.
    silent: Vec<&'static str>,
}

impl StatusActor {
    /// A status of the tree on `board`.
    #[must_use]
    pub fn new(settings: StatusSettings, ports: StatusPorts, board: Board, birth: &Birth<Self>) -> Self {
        let views = Views::default();
        let snapshot = Arc::new(build(&settings, &views, &board, None));
        Self {
            settings,
            ports,
            board,
            own: birth.own(),
            views,
            snapshot,
            subscribers: Vec::new(),
            busy: false,
            dirty: false,
        }
    }

    /// Makes a snapshot at once; what changes while it is made, or shortly after, makes one more.
    fn gather(&mut self, ctx: &mut Context<Self>) {
        if self.busy {
            self.dirty = true;
            return;
        }
        self.busy = true;
        let asked = ask_everyone(self.ports.clone(), self.settings.clone(), self.views.clone());
        ctx.spawn(asked.into_actor(self).map(|views, actor, ctx| {
            actor.views = views;
            actor.publish();
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
        self.snapshot = Arc::new(build(&self.settings, &self.views, &self.board, before));
        self.settings.listener.tell(&self.snapshot);
        let news = SnapshotChanged(Arc::clone(&self.snapshot));
        self.subscribers.retain(|subscriber| subscriber.tell(news.clone()).is_ok());
    }
}

async fn ask_everyone(ports: StatusPorts, settings: StatusSettings, last: Views) -> Views {
    let (served, started) = (&settings.in_force.profiles, settings.started);
    let drain = ports.drain.ask(GetDrain, PATIENCE);
    let dispatch = ports.dispatch.ask(GetDispatch, PATIENCE);
    let ledger = ports.ledger.ask(GetLedger, PATIENCE);
    let grants = ports.honcho.ask(GetGrants, PATIENCE);
    let config = ports.config.ask(GetConfig, PATIENCE);
    let profiles = join_all(served.iter().map(|profile| profile.ways.view.ask(GetProfile, PATIENCE)));
    let links = join_all(ports.links.iter().map(|link| link.ask(GetLink, PATIENCE)));
    let process = tokio::task::spawn_blocking(move || process::view(started));
    let (drain, dispatch, ledger, grants, config, profiles, links, process) =
        futures_util::join!(drain, dispatch, ledger, grants, config, profiles, links, process);
    let mut silent = Vec::new();
    let mut hear = |name, answered: bool| {
        if !answered {
            silent.push(name);
        }
    };
    hear("drain", drain.is_ok());
    hear("dispatch", dispatch.is_ok());
    hear("ledger", ledger.is_ok());
    hear("honcho", grants.is_ok());
    hear("config", config.is_ok());
    // One that does not answer keeps the place of what it last said.
    let mut known: BTreeMap<_, _> = last.profiles.into_iter().map(|view| (view.name.clone(), view)).collect();
    known.extend(profiles.into_iter().flatten().map(|view| (view.name.clone(), view)));
    known.retain(|name, _| served.iter().any(|profile| profile.name == *name));
    let mut known_links: BTreeMap<_, _> = last.links.into_iter().map(|view| (view.link.clone(), view)).collect();
    known_links.extend(links.into_iter().flatten().map(|view| (view.link.clone(), view)));
    Views {
        drain: drain.unwrap_or(last.drain),
        dispatch: dispatch.unwrap_or(last.dispatch),
        ledger: ledger.unwrap_or(last.ledger),
        grants: grants.unwrap_or(last.grants),
        config: config.unwrap_or(last.config),
        profiles: known.into_values().collect(),
        links: known_links.into_values().collect(),
        process: process.ok().or(last.process),
        silent,
    }
}

fn build(settings: &StatusSettings, views: &Views, board: &Board, before: Option<&Snapshot>) -> Snapshot {
    let (phase, exit_reason) = settings.phase.get();
    let actors = board.snapshot();
    let state = match phase {
        ProcessPhase::Starting => GatewayState::Starting,
        ProcessPhase::Running if views.drain.stopping => GatewayState::Stopping,
        ProcessPhase::Running if views.drain.draining => GatewayState::Draining,
        ProcessPhase::Running => GatewayState::Running,
        ProcessPhase::Stopping => GatewayState::Stopping,
        ProcessPhase::Stopped => GatewayState::Stopped,
    };
    let now = jiff::Timestamp::now().to_string();
    let updated_at =
        before.filter(|before| before.gateway_state == state).map(|before| before.gateway_updated_at.clone());
    let active = views.drain.active_agents;
    let down = actors
        .walk()
        .find(|node| node.kind == Kind::Worker && !node.path.contains('/') && node.state != ChildState::Running)
        .map(|node| format!("{} is not running", node.path));
    let silent = (!views.silent.is_empty()).then(|| format!("{} did not answer", views.silent.join(", ")));
    let trouble = down.or(silent).or_else(|| views.ledger.trouble.clone());
    let word = || state.as_str().to_owned();
    let not_ready = match state {
        GatewayState::Running => trouble,
        // A drain ends by itself; what is wrong beside it does not.
        GatewayState::Draining => trouble.or_else(|| Some(word())),
        GatewayState::Starting | GatewayState::Stopping | GatewayState::Stopped | GatewayState::StartupFailed => {
            Some(word())
        }
    };
    Snapshot {
        version: env!("CARGO_PKG_VERSION"),
        gateway_running: phase != ProcessPhase::Stopped,
        gateway_state: state,
        gateway_updated_at: updated_at.unwrap_or_else(|| now.clone()),
        gateway_exit_reason: exit_reason,
        gateway_platforms: platforms(&views.links, &now, before),
        active_agents: active,
        gateway_busy: words::busy(Some(state), true, active as u64),
        gateway_drainable: words::drainable(Some(state), true),
        restart_drain_timeout: settings.in_force.drain_timeout.as_secs(),
        active_sessions: views.dispatch.sessions,
        profiles: settings.in_force.profiles.iter().map(|served| served.name.clone()).collect(),
        not_ready,
        configuration: views.config.clone(),
        drain: views.drain.clone(),
        relay: views.links.clone(),
        honcho: views.grants.clone(),
        turns: views.dispatch.clone(),
        ledger: views.ledger.clone(),
        secrets: views.profiles.clone(),
        actors,
        process: views.process.unwrap_or_else(|| process::bare(settings.started)),
    }
}

/// The links by platform, in the words of the original's tools.
fn platforms(links: &[LinkView], now: &str, before: Option<&Snapshot>) -> BTreeMap<String, PlatformView> {
    let mut platforms = BTreeMap::new();
    for link in links {
        let (state, code) = match link.state {
            LinkState::Disabled => ("disabled", None),
            LinkState::Connected => ("connected", None),
            LinkState::Idle => ("idle", None),
            LinkState::Connecting | LinkState::Handshaking | LinkState::Waiting => ("connecting", None),
            LinkState::Revoked => ("fatal", Some("relay_disabled")),
        };
        let names: Vec<_> = match link.descriptors.as_slice() {
            [] => vec!["relay".to_owned()],
            some => some.iter().map(|descriptor| descriptor.platform.clone()).collect(),
        };
        for name in names {
            let last = before.and_then(|before| before.gateway_platforms.get(&name)).filter(|last| last.state == state);
            let view = PlatformView {
                state: state.to_owned(),
                error_code: code.map(str::to_owned),
                error_message: code.and(link.last_error.clone()),
                updated_at: last.map_or_else(|| now.to_owned(), |last| last.updated_at.clone()),
            };
            platforms.insert(name, view);
        }
    }
    platforms
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
    type Result = ();

    fn handle(&mut self, news: Phase, ctx: &mut Self::Context) {
        self.settings.phase.set(news);
        self.publish();
        self.dirty = self.busy;
        self.gather(ctx);
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
