//! The signals that are orders to a long-running process. All others that could end it are ignored from the start.

use std::io;

use caduceus_actors::signals;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::out;

/// Ignores every signal that is no order. Call it before anything takes time.
pub(super) fn catch_unused() {
    // Until there is something to reload, SIGHUP has no meaning. On a terminal that is gone it may still end the process.
    let hangup = [SignalKind::hangup()];
    if let Err(error) = signals::catch_unused(if out::on_terminal() { &[] } else { &hangup }) {
        tracing::warn!(%error, "signals not ignored: they may end this process");
    }
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalOrder {
    /// SIGTERM, SIGINT: shut down.
    Stop,
    /// SIGQUIT: shut down, and wait for no turn.
    StopNow,
    /// SIGHUP in a process without a terminal: reload every file.
    Reload,
    /// SIGHUP in a process that was started on a terminal, which is gone now: shut down.
    Hangup,
}

/// The signals that are orders.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    /// What SIGHUP means; a terminal that is gone can no longer be recognised.
    on_hangup: SignalOrder,
}

impl Signals {
    /// Takes them from now on.
    ///
    /// # Errors
    /// If the system has no room for it.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            on_hangup: if out::on_terminal() { SignalOrder::Hangup } else { SignalOrder::Reload },
        })
    }

    /// The next order.
    pub(super) async fn next(&mut self) -> SignalOrder {
        let on_hangup = self.on_hangup;
        tokio::select! {
            _ = self.terminate.recv() => SignalOrder::Stop,
            _ = self.interrupt.recv() => SignalOrder::Stop,
            _ = self.quit.recv() => SignalOrder::StopNow,
            _ = self.hangup.recv() => on_hangup,
        }
    }

    /// The next order to end. A terminal hangs up more than once, so that is no order in a process that is stopping.
    pub(super) async fn next_stop(&mut self) -> SignalOrder {
        loop {
            match self.next().await {
                order @ (SignalOrder::Stop | SignalOrder::StopNow) => return order,
                order @ (SignalOrder::Reload | SignalOrder::Hangup) => {
                    tracing::info!(?order, "signal ignored: the process is stopping");
                }
            }
        }
    }
}
