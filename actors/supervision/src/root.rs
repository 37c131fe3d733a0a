//! The root of a tree: starts it, reports how it ended, stops it, joins its threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::dev::ToEnvelope;
use actix::{Context, Handler, Message};
use tokio::sync::mpsc;

use crate::board::{Board, RunningChild, StatusCell, wall_clock};
use crate::child_event::{ChildEvent, ExitNotifier};
use crate::child_path::ChildPath;
use crate::context::SystemContext;
use crate::exit::ExitReason;
use crate::incarnation::Incarnation;
use crate::incarnation_future::spawn_outside;
use crate::launch::IncarnationLaunch;
use crate::mailbox::Mailbox;
use crate::monitor;
use crate::options::{RootEnd, RootOptions};
use crate::plan::RunId;
use crate::port::Port;
use crate::spec::{ChildSpec, SpecError, SupervisorSpec};
use crate::supervisor::Supervisor;
use crate::tree_node::ChildState;

/// The root of a tree.
#[derive(Debug)]
pub struct Root;

/// The handle on a running tree. Cheap to clone; dropping it stops nothing.
#[derive(Clone)]
pub struct RootHandle {
    system: SystemContext,
    board: Board,
    incarnation: Incarnation,
    mailbox: Mailbox<Supervisor>,
}

/// Why a tree was not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The current thread runs no actix `System`.
    #[error("the current thread runs no actix system")]
    NoSystem,
    /// The specification is invalid.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl Root {
    /// Starts a tree on the current thread, and its other threads.
    ///
    /// Returns before the children have started: see [`Board::changes`] and [`RootHandle::ended`].
    ///
    /// # Errors
    /// [`StartError`]. Nothing was started.
    pub fn start(spec: SupervisorSpec, options: RootOptions) -> Result<RootHandle, StartError> {
        Self::start_at(&Mailbox::new(), spec, options)
    }

    /// As [`Root::start`], with a mailbox for the root supervisor that its own children may already have ports into.
    ///
    /// # Errors
    /// [`StartError`]. Nothing was started.
    pub fn start_at(
        mailbox: &Mailbox<Supervisor>,
        spec: SupervisorSpec,
        options: RootOptions,
    ) -> Result<RootHandle, StartError> {
        if actix::System::try_current().is_none() {
            return Err(StartError::NoSystem);
        }
        spec.check()?;
        let mailbox = mailbox.clone();
        let system = SystemContext::new(options);
        let worker_thread = system.root_thread().clone();
        let cell = StatusCell::root(mailbox.erased(), &worker_thread);
        let board = Board::new(Arc::clone(&cell));
        if let (Some(watchdog), Some((_, heartbeat))) = (&system.options().watchdog, worker_thread.heartbeat()) {
            watchdog.watch(heartbeat, board.clone());
        }
        let (events, received) = mpsc::unbounded_channel();
        let incarnation = Incarnation::at(ChildPath::root(), 1, None);
        let exit = ExitNotifier::new(RunId::ROOT, events.clone());
        let run = IncarnationLaunch { incarnation: incarnation.clone(), fault: None, exit };
        let started = ChildSpec::supervisor("root", &mailbox, spec).actor.start(run, &system, &cell, &worker_thread);
        cell.write(|status| {
            status.generation = 1;
            status.started_at = Some(wall_clock());
            let incarnation = incarnation.clone();
            status.running = started.ok().map(|thread_number| RunningChild {
                run: RunId::ROOT,
                incarnation,
                worker_thread,
                thread_number,
                permanent: true,
                events,
            });
        });
        cell.notify();
        spawn_outside(record_end(received, cell, system.clone()));
        spawn_outside(monitor::run(system.clone(), board.clone()));
        Ok(RootHandle { system, board, incarnation, mailbox })
    }
}

/// Waits for the end of the root supervisor, and records how the tree ended.
async fn record_end(mut events: mpsc::UnboundedReceiver<ChildEvent>, cell: Arc<StatusCell>, system: SystemContext) {
    let reason = loop {
        match events.recv().await {
            Some(ChildEvent::Started { .. }) => {
                cell.write(|status| status.state = ChildState::Running);
                cell.notify();
            }
            Some(ChildEvent::Ready { .. }) => {}
            Some(ChildEvent::Ended { reason, .. }) => break reason,
            None => break ExitReason::Killed,
        }
    };
    tracing::info!(%reason, "root supervisor ended");
    cell.write(|status| {
        status.state = ChildState::Stopped;
        status.running = None;
        status.last_exit = Some((reason.clone(), wall_clock()));
    });
    cell.notify();
    let end = match reason {
        ExitReason::Shutdown | ExitReason::Normal => RootEnd::Shutdown,
        ExitReason::Panic(_)
        | ExitReason::Error(_)
        | ExitReason::Killed
        | ExitReason::Unresponsive
        | ExitReason::Fatal(_) => system.cause().unwrap_or(RootEnd::IntensityExceeded { path: String::new(), reason }),
    };
    system.end(end);
}

impl RootHandle {
    /// The view of the tree.
    #[must_use]
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    #[cfg(test)]
    pub(crate) fn system(&self) -> &SystemContext {
        &self.system
    }

    /// A port into the root supervisor.
    #[must_use]
    pub fn port<M>(&self) -> Port<M>
    where
        Supervisor: Handler<M>,
        Context<Supervisor>: ToEnvelope<Supervisor, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.mailbox.port()
    }

    /// Waits until the tree has ended, and returns how. May be called repeatedly, also after the end.
    pub async fn ended(&self) -> RootEnd {
        let mut end = self.system.ended();
        // The context held here owns the sender, so the wait cannot fail.
        let end = end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        end.unwrap_or(RootEnd::Shutdown)
    }

    /// Stops the tree in reverse order, one child at a time, each killed after its grace, and waits for it.
    pub async fn stop(&self) {
        self.incarnation.control().stop();
        self.ended().await;
    }

    /// Ends the worker threads and joins them, waiting at most `within` for all. Returns how many were leaked.
    /// Call it once the tree has ended.
    pub async fn join_threads(&self, within: Duration) -> usize {
        let deadline = Instant::now() + within;
        let mut left = 0;
        let threads = self.system.threads();
        for thread in threads.into_iter().filter_map(|thread| thread.take()).chain(self.system.take_leaked()) {
            if !thread.join(deadline.saturating_duration_since(Instant::now())).await {
                left += 1;
            }
        }
        left
    }
}
