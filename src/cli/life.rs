//! The life of a gateway's process: bind, start, announce, await a signal, drain, exit.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt::System;
use caduceus_actors::drain::messages::{AwaitDrained, BeginShutdown, DrainView, ListTurns};
use caduceus_actors::gateway::{DeliveryPort, Gateway, GatewayPorts, LinkPort, RunningGateway, Surroundings};
use caduceus_actors::ledger::OpenError;
use caduceus_actors::profile::{GuardCommand, Redactor};
use caduceus_actors::relay::messages::GoIdle;
use caduceus_actors::settings::Settings;
use caduceus_actors::status::messages::{Phase, ProcessPhase};
use caduceus_actors::supervision::{ChildState, InjectFault, Mailbox, Operate, RootHandle, RootOptions, Watchdog};
use caduceus_actors::turn::messages::{StopCause, StopTurn};
use futures_util::future::{Either, select};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::serve::fail;
use crate::http::{self, Healthy, HttpActor, HttpOptions};

/// The root's thread only supervises; when it does not turn for this long nobody is looked after.
const ROOT_SILENCE: Duration = Duration::from_secs(15);
/// How long the gate may take to close.
const GATE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a link may take to have its farewell acknowledged.
const IDLE_PATIENCE: Duration = Duration::from_secs(12);
/// How long turns may take to end once they are stopped: SIGTERM, 5 s, SIGKILL.
const STOP_PATIENCE: Duration = Duration::from_secs(8);
/// How long the ledger and the threads may take to end.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// What all of a shutdown but the wait for turns may take, before the watchdog ends the process.
const SHUTDOWN_MARGIN: Duration = Duration::from_mins(1);

/// What a gateway's process is started with.
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) redactor: Redactor,
    pub(super) started: Instant,
    pub(super) allow_faults: bool,
    pub(super) insecure_loopback_drain: bool,
}

/// Runs a gateway to its end. `announce` is told the address once it serves.
pub(super) fn run(plan: Plan, announce: impl FnOnce(SocketAddr)) -> ExitCode {
    let watchdog = match Watchdog::arm(ROOT_SILENCE) {
        Ok(watchdog) => watchdog,
        Err(error) => return fail(&error, super::TRY_AGAIN),
    };
    let code = System::new().block_on(async {
        let mut signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => return report(&error, super::TRY_AGAIN),
        };
        match Process::start(plan, &watchdog) {
            Ok(process) => process.live(&mut signals, announce).await,
            Err(code) => code,
        }
    });
    watchdog.disarm();
    ExitCode::from(code)
}

/// A gateway that has been started.
pub(super) struct Process {
    gateway: RunningGateway,
    address: SocketAddr,
    drain_timeout: Duration,
    watchdog: Watchdog,
}

impl Process {
    /// Binds, and starts the tree on the current thread. `Err` is an exit code; why has been said.
    pub(super) fn start(plan: Plan, watchdog: &Watchdog) -> Result<Self, u8> {
        let Plan { mut settings, redactor, started, allow_faults, insecure_loopback_drain } = plan;
        for warning in &settings.warnings {
            warn!("{warning}");
        }
        let guard = guard_command().map_err(|error| report(&error, super::TRY_AGAIN))?;
        let (bind, home, drain_timeout) = (settings.bind, settings.home.clone(), settings.drain_timeout);
        let wedge_after = settings.supervision.wedge_after;
        let http_policy = settings.supervision.policies.get("http").copied().unwrap_or_default();
        let drain_auth = settings.take_drain_auth();
        let inbound = settings.inbound.clone();
        let surroundings = Surroundings { guard, redactor, started };
        let gateway = Gateway::new(settings, surroundings).map_err(|error| {
            let code = match &error {
                OpenError::Locked { .. } => super::REFUSED,
                _ => super::CONFIGURATION,
            };
            report(&error, code)
        })?;
        let root = Mailbox::new();
        let watched = watchdog.clone();
        let options = HttpOptions {
            bind,
            names: Vec::new(),
            drain_auth,
            insecure_loopback_drain,
            allow_faults,
            home,
            healthy: Healthy(Arc::new(move || watched.fresh())),
            inbound,
        };
        let site = http::bind(options, http_ports(&gateway.ports, root.port(), root.port()))
            .map_err(|error| report(&error, super::TRY_AGAIN))?;
        let address = site.address();
        let gateway = gateway.with(HttpActor::child(site, http_policy));
        let options = RootOptions {
            wedge_after,
            faults_allowed: allow_faults,
            watchdog: Some(watchdog.clone()),
            ..RootOptions::default()
        };
        Ok(Self { gateway: gateway.start(options, &root), address, drain_timeout, watchdog: watchdog.clone() })
    }

    /// Serves until a signal, or until the tree gives up; then ends it in order. Answers the exit code.
    pub(super) async fn live(self, signals: &mut Signals, announce: impl FnOnce(SocketAddr)) -> u8 {
        let root = self.gateway.root.clone();
        let up = async {
            until_up(&root).await;
            self.tell(ProcessPhase::Running);
            announce(self.address);
            info!(address = %self.address, "gateway is up");
            std::future::pending::<()>().await;
        };
        let ended = async {
            select(Box::pin(root.ended()), Box::pin(up)).await;
        };
        let signalled = {
            let first = select(Box::pin(ended), Box::pin(signals.next())).await;
            matches!(first, Either::Right(_))
        };
        if !signalled {
            return self.fallen().await;
        }
        let code = {
            let first = select(Box::pin(self.shut_down()), Box::pin(signals.next())).await;
            if let Either::Left((code, _)) = first { Some(code) } else { None }
        };
        if let Some(code) = code {
            return code;
        }
        warn!("a second signal: the turns left are not waited for");
        self.end().await
    }

    /// The tree gave up by itself.
    async fn fallen(&self) -> u8 {
        let end = self.gateway.root.ended().await;
        error!(?end, "the gateway gives up");
        self.watchdog.arm_deadline(END_PATIENCE * 2);
        self.close(end.exit_code()).await
    }

    /// The six steps of a shutdown.
    async fn shut_down(&self) -> u8 {
        self.watchdog.arm_deadline(self.drain_timeout + SHUTDOWN_MARGIN);
        info!("gateway is stopping");
        let ports = &self.gateway.ports;
        self.tell(ProcessPhase::Stopping);
        if let Err(error) = ports.begin_shutdown.ask(BeginShutdown, GATE_PATIENCE).await {
            warn!(%error, "the gate was not told; it closes with the process");
        }
        let idle = ports.links.iter().map(|link| link.go_idle.ask(GoIdle, IDLE_PATIENCE));
        for answer in futures_util::future::join_all(idle).await {
            info!(?answer, "link sent to sleep");
        }
        if !self.drained(self.drain_timeout).await {
            for turn in ports.turns.ask(ListTurns, GATE_PATIENCE).await.unwrap_or_default() {
                warn!(turn = %turn.ticket.id, "the time is over; the turn is stopped");
                // One without a way in has not started yet.
                let stopped = turn.stop.map(|stop| stop.tell(StopTurn { cause: StopCause::Shutdown }));
                info!(?stopped, "turn told");
            }
            self.drained(STOP_PATIENCE).await;
        }
        self.end().await
    }

    async fn drained(&self, patience: Duration) -> bool {
        let question = AwaitDrained { patience };
        let view = self.gateway.ports.await_drained.ask(question, patience + GATE_PATIENCE).await;
        matches!(view, Ok(DrainView { active_agents: 0, .. }))
    }

    async fn end(&self) -> u8 {
        self.watchdog.arm_deadline(SHUTDOWN_MARGIN);
        self.gateway.root.stop().await;
        self.close(0).await
    }

    /// Writes out the ledger and joins the threads.
    async fn close(&self, code: u8) -> u8 {
        if let Err(error) = self.gateway.close_ledger(END_PATIENCE) {
            error!(%error, "the ledger was not closed");
        }
        let left = self.gateway.root.join_lanes(END_PATIENCE).await;
        if left > 0 {
            warn!(left, "threads are left behind");
        }
        info!(code, "gateway is down");
        code
    }

    fn tell(&self, phase: ProcessPhase) {
        if let Err(error) = self.gateway.ports.phase.tell(Phase { phase, exit_reason: None }) {
            warn!(%error, "the status was not told where the process is in its life");
        }
    }
}

/// SIGTERM and SIGINT, one as good as the other.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(super) async fn next(&mut self) {
        select(Box::pin(self.terminate.recv()), Box::pin(self.interrupt.recv())).await;
    }
}

/// Waits until every child of the root serves, or is parked.
fn until_up(root: &RootHandle) -> impl Future<Output = ()> + use<> {
    let board = root.board();
    async move {
        let mut changes = board.changes();
        loop {
            let tree = board.snapshot();
            let settled = |state| matches!(state, ChildState::Running | ChildState::Failed);
            if !tree.children.is_empty() && tree.children.iter().all(|child| settled(child.state)) {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

fn http_ports(
    ports: &GatewayPorts,
    operate: caduceus_actors::supervision::Port<Operate>,
    inject_fault: caduceus_actors::supervision::Port<InjectFault>,
) -> http::Ports {
    http::Ports {
        snapshot: ports.snapshot.clone(),
        subscribe: ports.subscribe.clone(),
        drain: ports.drain.clone(),
        begin_drain: ports.begin_drain.clone(),
        cancel_drain: ports.cancel_drain.clone(),
        await_drained: ports.await_drained.clone(),
        operate,
        inject_fault,
        stop_turn: ports.stop_turn.clone(),
        relay: relay_ports(ports),
    }
}

fn relay_ports(ports: &GatewayPorts) -> http::RelayPorts {
    let link = |link: &LinkPort| {
        let LinkPort { link, go_dormant, wake, .. } = link.clone();
        http::Link { id: link, go_dormant, wake }
    };
    let delivery = |delivery: &DeliveryPort| {
        let DeliveryPort { owner, verify, deliver } = delivery.clone();
        http::Delivery { owner, verify, deliver }
    };
    http::RelayPorts {
        links: ports.links.iter().map(link).collect(),
        deliveries: ports.deliveries.iter().map(delivery).collect(),
        stop_session: Some(ports.stop_session.clone()),
    }
}

/// How the guard of an agent is run: our own binary.
fn guard_command() -> io::Result<GuardCommand> {
    // Through the kernel's own link, which still leads to us when an upgrade has replaced the file.
    let program = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
    Ok(GuardCommand { program, arguments: vec!["guard".into()] })
}

/// No core file and no look into our memory for other processes of this user.
pub(super) fn forbid_dumps() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

fn report(error: &dyn std::error::Error, code: u8) -> u8 {
    fail(error, code);
    code
}
