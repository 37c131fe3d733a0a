//! The end of a gateway's process in order: close the gate, make the links idle, wait for turns, stop the tree, close the ledger.

use std::time::{Duration, Instant};

use caduceus_actors::drain::permit::messages::ListTurns;
use caduceus_actors::drain::store;
use caduceus_contract::messages::dispatch::AnnounceStop;
use caduceus_contract::messages::drain::{AwaitDrained, BeginShutdown};
use caduceus_contract::messages::relay::GoIdle;
use caduceus_contract::messages::status::Phase;
use caduceus_contract::messages::turn::{StopCause, StopTurn};
use caduceus_contract::status::lifecycle::ProcessPhase;
use futures_util::future::{Either, select};
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::GatewayProcess;
use super::timeouts::{
    GATE_PAUSE, GATE_TIMEOUT, IDLE_TIMEOUT, LEDGER_TIMEOUT, SHUTDOWN_MARGIN, STOP_TIMEOUT, THREADS_TIMEOUT,
};
use crate::cli::TRY_AGAIN;
use crate::cli::signals::{SignalAction, Signals};

impl GatewayProcess {
    /// Shuts down, without waiting for turns once that is forced.
    pub(super) async fn shut_down_on_signal(&self, signals: &mut Signals) -> u8 {
        let code = {
            let first = select(Box::pin(self.shut_down()), Box::pin(self.until_forced(signals))).await;
            if let Either::Left((code, _)) = first { Some(code) } else { None }
        };
        if let Some(code) = code {
            return code;
        }
        warn!("second signal: not waiting for running turns");
        self.end().await
    }

    /// Waits until the shutdown in progress is forced: then it no longer waits for turns.
    async fn until_forced(&self, signals: &mut Signals) {
        // A shutdown that is forced from the beginning runs all its steps without waiting for turns.
        let forced = self.shutdown.is_forced();
        let requested = async { if forced { std::future::pending().await } else { self.shutdown.forced().await } };
        let signalled = async {
            if self.shutdown.is_restart() {
                // The first signal during a restart: the restart becomes a stop, and turns are still waited for.
                let action = signals.next_stop().await;
                warn!("signal during a restart: the gateway stops and is not started again");
                self.shutdown.signalled(false);
                self.status_reporter.stopping(false);
                if action == SignalAction::StopNow {
                    return;
                }
            }
            signals.next_stop().await;
        };
        select(Box::pin(signalled), Box::pin(requested)).await;
    }

    /// The six steps of a shutdown.
    async fn shut_down(&self) -> u8 {
        let drain_timeout = self.gateway.drain_timeout();
        self.watchdog.set_deadline(drain_timeout + SHUTDOWN_MARGIN, TRY_AGAIN);
        info!("gateway is stopping");
        self.status_reporter.stopping(self.shutdown.is_restart());
        let ports = &self.gateway.ports;
        let why = if self.shutdown.is_restart() { "a restart was requested" } else { "stop signal received" };
        self.set_phase(ProcessPhase::Stopping, Some(why));
        let quiet = self.close_gate().await;
        let notice = async {
            if !quiet && let Err(error) = ports.announce_stop.ask(AnnounceStop, IDLE_TIMEOUT).await {
                warn!(%error, "home channel not notified of the shutdown");
            }
        };
        let idle = ports.links.iter().map(|link| link.go_idle.ask(GoIdle, IDLE_TIMEOUT));
        let ((), answers) = futures_util::future::join(notice, futures_util::future::join_all(idle)).await;
        for answer in answers {
            info!(?answer, "link idle");
        }
        let timeout = if self.shutdown.is_forced() { Duration::ZERO } else { drain_timeout };
        self.wait_for_turns(timeout, false).await;
        // Turns past the timeout, and turns that requested the drain.
        let left = ports.turns.ask(ListTurns, GATE_TIMEOUT).await.unwrap_or_default();
        for turn in &left {
            warn!(turn = %turn.ticket.id, "turn stopped: shutdown");
            // A turn without a port has not started yet.
            let stopped = turn.stop.as_ref().map(|stop| stop.tell(StopTurn { cause: StopCause::Shutdown }));
            info!(?stopped, "turn stop sent");
        }
        if !left.is_empty() {
            self.wait_for_turns(STOP_TIMEOUT, true).await;
        }
        self.end().await
    }

    /// Closes the gate until the process ends. A gate that fails or hangs meanwhile is restarted within seconds, so the order is
    /// sent again. Returns whether the announcement of the shutdown is suppressed.
    async fn close_gate(&self) -> bool {
        let until = Instant::now() + GATE_TIMEOUT * 4;
        while Instant::now() < until {
            match self.gateway.ports.begin_shutdown.ask(BeginShutdown, GATE_TIMEOUT).await {
                Ok(view) => return view.suppress_notification,
                Err(error) => warn!(%error, "no answer from the gate: close"),
            }
            sleep(GATE_PAUSE).await;
        }
        error!("gate not closed; it closes with the process");
        false
    }

    /// Waits until no turn is left, for at most `timeout`. A gate that fails meanwhile loses its waiters.
    async fn wait_for_turns(&self, timeout: Duration, including_requesters: bool) {
        let until = Instant::now() + timeout;
        loop {
            let request =
                AwaitDrained { timeout: until.saturating_duration_since(Instant::now()), including_requesters };
            let answer = self.gateway.ports.drain.await_drained.ask(request, request.timeout + GATE_TIMEOUT).await;
            match answer {
                // No turn is left, or the timeout is reached.
                Ok(_) => return,
                Err(error) if Instant::now() >= until => {
                    return warn!(%error, "no answer from the gate: wait for turns");
                }
                Err(_) => sleep(GATE_PAUSE).await,
            }
        }
    }

    async fn end(&self) -> u8 {
        self.watchdog.set_deadline(SHUTDOWN_MARGIN, TRY_AGAIN);
        self.gateway.root.stop().await;
        if self.shutdown.ends_drain() {
            match store::remove(&self.home) {
                Ok(was_draining) => info!(was_draining, "a forced restart ends a drain"),
                Err(error) => {
                    error!(%error, "the drain marker could not be removed; the drain continues after the restart");
                }
            }
        }
        self.close(if self.shutdown.is_restart() { TRY_AGAIN } else { 0 }).await
    }

    /// Writes out the ledger and joins the threads.
    pub(super) async fn close(&self, code: u8) -> u8 {
        if let Err(error) = self.gateway.close_ledger(LEDGER_TIMEOUT) {
            error!(%error, "ledger not closed");
        }
        let left = self.gateway.root.join_threads(THREADS_TIMEOUT).await;
        if left > 0 {
            warn!(left, "threads did not end");
        }
        info!(code, "gateway is down");
        code
    }

    fn set_phase(&self, phase: ProcessPhase, why: Option<&str>) {
        let phase = Phase { phase, exit_reason: why.map(str::to_owned) };
        if let Err(error) = self.gateway.ports.phase.tell(phase) {
            warn!(%error, "status not updated: state of the process");
        }
    }
}
