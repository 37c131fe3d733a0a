//! The signals that a long-running process handles. All others that could end it are ignored from the start.

use std::io;

use caduceus_actors::signals;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::out;

/// Ignores every signal that is not handled. Call it first.
pub(super) fn catch_unused() {
    // Until there is something to reload, SIGHUP has no meaning. On a terminal that is gone it may still end the process.
    let hangup = [SignalKind::hangup()];
    if let Err(error) = signals::catch_unused(if out::on_terminal() { &[] } else { &hangup }) {
        tracing::warn!(%error, "signals not ignored: they may end this process");
    }
}

/// The meaning of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalAction {
    /// SIGTERM, SIGINT: shut down.
    Stop,
    /// SIGQUIT: shut down without waiting for turns.
    StopNow,
    /// SIGHUP in a process without a terminal: reload every file.
    Reload,
    /// SIGHUP in a process that was started on a terminal, which is gone now: shut down.
    Hangup,
}

/// The handled signals.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    /// What SIGHUP means; a terminal that is gone can no longer be recognised.
    on_hangup: SignalAction,
}

impl Signals {
    /// Handles them from now on.
    ///
    /// # Errors
    /// The error of the system.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            on_hangup: if out::on_terminal() { SignalAction::Hangup } else { SignalAction::Reload },
        })
    }

    /// The same before there is a runtime. A signal that arrives until then is the first one that [`Self::next`] returns.
    ///
    /// # Errors
    /// The error of the system.
    pub(super) fn listen_early() -> io::Result<Self> {
        // The handlers outlive the runtime in which they were registered, and the next runtime passes on what they noted.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let _entered = runtime.enter();
        Self::listen()
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> SignalAction {
        let on_hangup = self.on_hangup;
        tokio::select! {
            _ = self.terminate.recv() => SignalAction::Stop,
            _ = self.interrupt.recv() => SignalAction::Stop,
            _ = self.quit.recv() => SignalAction::StopNow,
            _ = self.hangup.recv() => on_hangup,
        }
    }

    /// The next signal that ends the process. A terminal hangs up more than once, so SIGHUP is ignored while the process stops.
    pub(super) async fn next_stop(&mut self) -> SignalAction {
        loop {
            match self.next().await {
                action @ (SignalAction::Stop | SignalAction::StopNow) => return action,
                action @ (SignalAction::Reload | SignalAction::Hangup) => {
                    tracing::info!(?action, "signal ignored: the process is stopping");
                }
            }
        }
    }
}
