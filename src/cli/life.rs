//! The lifecycle of a gateway's process: bind, start, announce, await a signal, drain, exit.

mod shutdown; // The steps of a shutdown.
mod timeouts; // How long each of them may take.
mod wiring; // The ports of the tree, for HTTP, and the command of the guard.

use std::future::Future;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use actix_web::rt::System;
use caduceus_actors::error_chain::error_chain;
use caduceus_actors::gateway::{Gateway, GatewayDependencies, RunningGateway};
use caduceus_actors::honcho::steps::StepHook;
use caduceus_actors::profile::Redactor;
use caduceus_actors::settings::{HttpValues, Settings};
use caduceus_contract::messages::config::{ReloadConfig, ReloadDone};
use caduceus_contract::messages::status::Phase;
use caduceus_contract::status::lifecycle::ProcessPhase;
use caduceus_supervision::{ChildState, Mailbox, RootEnd, RootHandle, RootOptions, Watchdog};
use futures_util::future::{Either, select};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{error, info, warn};

use self::timeouts::{CLOSING_DEADLINE, GATE_PAUSE, LAST_STEPS, RELOAD_TIMEOUT, ROOT_SILENCE, STATUS_TIMEOUT};
use self::wiring::{guard_command, http_ports};
use super::failure::fail;
use super::log;
use super::restart::ShutdownController;
use super::signals::{SignalAction, Signals};
use super::status_reporter::StatusReporter;
use super::watchdog;
use crate::http::{self, Healthy, HttpActor, HttpOptions};

/// The options of a gateway's process.
pub(super) struct GatewayLaunch {
    pub(super) settings: Settings,
    /// Where to listen.
    pub(super) bind: SocketAddr,
    pub(super) redactor: Redactor,
    pub(super) started: Instant,
    pub(super) allow_faults: bool,
    pub(super) insecure_loopback_drain: bool,
    /// Called at every step of every refresh of a grant.
    pub(super) refresh_steps: StepHook,
    /// Signals handled from an earlier time on. Without them a signal ends a start that hangs on the disk.
    pub(super) signals: Option<Signals>,
}

/// Runs a gateway to its end. `announce` gets the address once it serves.
pub(super) fn run(launch: GatewayLaunch, announce: impl FnOnce(SocketAddr)) -> ExitCode {
    let watchdog = match watchdog::start(ROOT_SILENCE) {
        Ok(watchdog) => watchdog,
        Err(error) => return fail(&error, super::TRY_AGAIN),
    };
    let status_reporter = match StatusReporter::start(&launch.settings.home, &launch.settings.environment, &watchdog) {
        Ok(status_reporter) => status_reporter,
        Err(error) => return fail(&error, super::TRY_AGAIN),
    };
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        // Its drop would wait without limit for reads of files on its blocking threads.
        let system = ManuallyDrop::new(System::new());
        system.block_on(async {
            let (process, mut signals) = GatewayProcess::start(launch, &watchdog, &status_reporter)?;
            Ok(process.run_until_stopped(&mut signals, announce).await)
        })
    }));
    let (Ok(code) | Err(code)) = result.unwrap_or_else(|_| {
        status_reporter.because("the thread that runs the process panicked".to_owned());
        Err(super::INTERNAL_ERROR)
    });
    // The remaining drops, here and in the caller, may wait for a disk too. The exit code is set before.
    watchdog.set_deadline(LAST_STEPS, code);
    status_reporter.ended();
    super::log::report_suppressed();
    ExitCode::from(code)
}

/// A gateway that has been started.
pub(super) struct GatewayProcess {
    gateway: RunningGateway,
    address: SocketAddr,
    watchdog: Watchdog,
    status_reporter: StatusReporter,
    home: PathBuf,
    shutdown: ShutdownController,
}

impl GatewayProcess {
    /// Binds, and starts the tree on the current thread. `Err` is an exit code; the cause has been logged.
    pub(super) fn start(
        launch: GatewayLaunch,
        watchdog: &Watchdog,
        status_reporter: &StatusReporter,
    ) -> Result<(Self, Signals), u8> {
        let GatewayLaunch {
            mut settings,
            bind,
            redactor,
            started,
            allow_faults,
            insecure_loopback_drain,
            refresh_steps,
            signals,
        } = launch;
        for warning in &settings.warnings {
            warn!("{warning}");
        }
        let guard = guard_command().map_err(|error| report(status_reporter, &error, super::TRY_AGAIN))?;
        let home = settings.home.clone();
        let unresponsive_after = settings.values.supervision.unresponsive_after;
        let http_policy = settings.values.supervision.policies.get("http").copied().unwrap_or_default();
        let drain_auth = settings.take_drain_auth();
        redactor.replace(
            "http authenticator",
            drain_auth.secret.iter().map(|secret| ("HERMES_DASHBOARD_DRAIN_SECRET", secret)),
        );
        let values = settings.values.clone();
        let dependencies = GatewayDependencies {
            guard,
            redactor: redactor.clone(),
            started,
            refresh_steps,
            listener: status_reporter.listener(),
        };
        let gateway = Gateway::new(settings, dependencies).map_err(|error| {
            let code = match &error {
                error if error.is_temporary() => super::TRY_AGAIN,
                _ => super::CONFIGURATION,
            };
            report(status_reporter, &error, code)
        })?;
        // Not earlier: until here, a signal must end a start that hangs on the disk.
        let signals = signals
            .map_or_else(Signals::listen, Ok)
            .map_err(|error| report(status_reporter, &error, super::TRY_AGAIN))?;
        let root = Mailbox::new();
        let watched = watchdog.clone();
        let options = HttpOptions {
            values: HttpValues { bind, ..values.http },
            drain_auth,
            insecure_loopback_drain,
            allow_faults,
            home: home.clone(),
            healthy: Healthy(Arc::new(move || watched.is_fresh())),
            log_dropped: log::dropped,
            redactor,
            inbound: values.relay.inbound,
        };
        let shutdown = ShutdownController::default();
        let server =
            http::bind(options, http_ports(&gateway.ports, root.port(), root.port(), &shutdown)).map_err(|error| {
                report(
                    status_reporter,
                    &error,
                    if error.is_temporary() { super::TRY_AGAIN } else { super::CONFIGURATION },
                )
            })?;
        let address = server.address();
        status_reporter.listens(address);
        let gateway = gateway.with(HttpActor::child(server, http_policy));
        let options = RootOptions {
            unresponsive_after,
            faults_allowed: allow_faults,
            watchdog: Some(watchdog.clone()),
            ..RootOptions::default()
        };
        let gateway =
            gateway.start(options, &root).map_err(|error| report(status_reporter, &error, super::INTERNAL_ERROR))?;
        let (watchdog, status_reporter) = (watchdog.clone(), status_reporter.clone());
        Ok((Self { gateway, address, watchdog, status_reporter, home, shutdown }, signals))
    }

    /// Serves until a signal, a requested restart, or the end of the tree; then shuts down.
    pub(super) async fn run_until_stopped(self, signals: &mut Signals, announce: impl FnOnce(SocketAddr)) -> u8 {
        let root = self.gateway.root.clone();
        let reload = Notify::new();
        let up = async {
            until_up(&root).await;
            self.set_running().await;
            self.status_reporter.ready();
            announce(self.address);
            info!(address = %self.address, "gateway is up");
            loop {
                reload.notified().await;
                self.reload().await;
            }
        };
        let ended = async {
            select(Box::pin(root.ended()), Box::pin(up)).await;
        };
        let requests = async {
            loop {
                let requested =
                    match select(Box::pin(signals.next()), Box::pin(self.shutdown.restart_requested())).await {
                        Either::Left((action, _)) => action,
                        Either::Right(_) => return,
                    };
                match requested {
                    // Several signals before a reload are one.
                    SignalAction::Reload => reload.notify_one(),
                    SignalAction::Hangup => {
                        warn!("terminal hangup: the gateway stops");
                        return self.shutdown.signalled(false);
                    }
                    SignalAction::Stop => return self.shutdown.signalled(false),
                    SignalAction::StopNow => return self.shutdown.signalled(true),
                }
            }
        };
        let requested = {
            let first = select(Box::pin(ended), Box::pin(requests)).await;
            matches!(first, Either::Right(_))
        };
        if !requested {
            return self.tree_ended().await;
        }
        self.shut_down_on_signal(signals).await
    }

    /// The tree ended without a request.
    async fn tree_ended(&self) -> u8 {
        let end = self.gateway.root.ended().await;
        error!(?end, "supervision tree gave up: the gateway stops");
        self.status_reporter.because(end.to_string());
        let code = exit_code(&end);
        self.watchdog.set_deadline(CLOSING_DEADLINE, code);
        self.close(code).await
    }

    /// Reloads every file. The readers log what changed.
    async fn reload(&self) {
        info!("SIGHUP: reload of every file");
        self.status_reporter.reloading();
        match self.gateway.ports.reload.ask(ReloadConfig, RELOAD_TIMEOUT).await {
            Ok(ReloadDone { changed, problems }) if problems.is_empty() => {
                info!(?changed, "files reloaded");
            }
            Ok(ReloadDone { changed, problems }) => {
                warn!(?changed, ?problems, "files reloaded; a file with errors keeps its last valid content");
            }
            Err(error) => warn!(%error, "reload timed out; it continues in the background"),
        }
        self.status_reporter.ready();
    }

    /// Sets the status to up, and waits until it has the state of every part: clients may query it from the first line on. A status actor
    /// that fails meanwhile is restarted, so the message is sent again.
    async fn set_running(&self) {
        let until = Instant::now() + STATUS_TIMEOUT;
        while Instant::now() < until {
            let running = Phase { phase: ProcessPhase::Running, exit_reason: None };
            match self.gateway.ports.phase.ask(running, STATUS_TIMEOUT).await {
                Ok(()) => return,
                Err(error) => warn!(%error, "status not updated: gateway up"),
            }
            sleep(GATE_PAUSE).await;
        }
    }
}

/// The exit code of the process after this end of its tree.
fn exit_code(end: &RootEnd) -> u8 {
    match end {
        RootEnd::Shutdown => 0,
        RootEnd::IntensityExceeded { .. } => super::INTERNAL_ERROR,
        RootEnd::TooManyUnresponsive => super::TRY_AGAIN,
    }
}

/// Waits until every child of the root serves, or has failed.
fn until_up(root: &RootHandle) -> impl Future<Output = ()> + use<> {
    let board = root.board();
    async move {
        let mut changes = board.changes();
        loop {
            let states = board.states_of_children();
            let settled = |state: &ChildState| matches!(state, ChildState::Running | ChildState::Failed);
            if !states.is_empty() && states.iter().all(settled) {
                return;
            }
            if changes.changed().await.is_err() {
                // It ended before it was up.
                return std::future::pending().await;
            }
        }
    }
}

/// Logs and records why there is no gateway. Returns `code`.
fn report(status_reporter: &StatusReporter, error: &dyn std::error::Error, code: u8) -> u8 {
    status_reporter.because(error_chain(error));
    fail(error, code);
    code
}
