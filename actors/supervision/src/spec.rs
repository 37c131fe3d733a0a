//! The specification of a tree: children, supervisors, and the options of each.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::board::StatusCell;
use crate::context::SystemContext;
use crate::exit::ExitReason;
use crate::launch::IncarnationLaunch;
use crate::mailbox::AnyMailbox;
#[cfg(feature = "fault-injection")]
use crate::messages::InjectFault;
use crate::messages::{ChildExited, Operate};
use crate::policy::RestartPolicy;
use crate::port::Port;
use crate::restart::{Readiness, Restart, Strategy};
use crate::tree_node::ChildKind;
use crate::worker_thread::WorkerThread;

/// Default time for a child to stop.
const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// A child and its options. Made by [`ChildSpec::worker`] or [`ChildSpec::supervisor`]. Cheap to clone; a clone
/// describes the same child.
#[derive(Clone)]
pub struct ChildSpec {
    pub(crate) id: Arc<str>,
    pub(crate) actor: Arc<dyn ErasedChild>,
    /// `None` for the root's thread.
    pub(crate) worker_thread: Option<WorkerThread>,
    pub(crate) restart: Restart,
    pub(crate) policy: RestartPolicy,
    /// `None` for a supervisor, whose children each have theirs.
    pub(crate) grace: Option<Duration>,
    pub(crate) readiness: Readiness,
    /// Set for a supervisor.
    pub(crate) nested: Option<Box<NestedSupervisor>>,
}

/// The ports and the children of a supervisor that is itself a child.
#[derive(Clone)]
pub(crate) struct NestedSupervisor {
    pub(crate) operate: Port<Operate>,
    #[cfg(feature = "fault-injection")]
    pub(crate) inject_fault: Port<InjectFault>,
    pub(crate) spec: SupervisorSpec,
}

/// A child whose actor type is erased.
pub(crate) trait ErasedChild: Send + Sync {
    /// Starts an incarnation on its thread; returns the thread's number.
    fn start(
        self: Arc<Self>,
        launch: IncarnationLaunch,
        system: &SystemContext,
        cell: &Arc<StatusCell>,
        thread: &WorkerThread,
    ) -> Result<u64, ExitReason>;

    /// Drops the messages in its mailbox and in those below it, and refuses others until they are started again.
    fn close(&self);

    fn mailbox(&self) -> Arc<dyn AnyMailbox>;
}

/// Why a specification is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// An id is empty or contains a slash.
    #[error("child id {0:?} is empty or contains a slash")]
    InvalidId(String),
    /// Two children of one supervisor have this id.
    #[error("child id {0:?} is taken")]
    DuplicateId(String),
}

impl ChildSpec {
    pub(crate) fn with(id: Arc<str>, actor: Arc<dyn ErasedChild>, nested: Option<NestedSupervisor>) -> Self {
        Self {
            id,
            actor,
            worker_thread: None,
            restart: Restart::Permanent,
            policy: RestartPolicy::default(),
            grace: Some(DEFAULT_GRACE),
            readiness: Readiness::Started,
            nested: nested.map(Box::new),
        }
    }

    /// Sets the thread it runs on. The children of a supervisor run on the threads of their own specifications: a supervisor of
    /// many short-lived children costs least on their thread.
    #[must_use]
    pub fn on(mut self, thread: &WorkerThread) -> Self {
        self.worker_thread = Some(thread.clone());
        self
    }

    /// Sets when it is restarted.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Sets how often and how soon it is restarted, and what happens when the restart intensity is exceeded.
    #[must_use]
    pub fn policy(mut self, policy: RestartPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets how long it may take to stop before it is killed.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Sets when it counts as ready.
    #[must_use]
    pub fn readiness(mut self, readiness: Readiness) -> Self {
        self.readiness = readiness;
        self
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn kind(&self) -> ChildKind {
        if self.nested.is_some() { ChildKind::Supervisor } else { ChildKind::Worker }
    }

    /// Checks this child and those below it.
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        if self.id.is_empty() || self.id.contains('/') {
            return Err(SpecError::InvalidId(self.id.to_string()));
        }
        self.nested.as_ref().map_or(Ok(()), |nested| nested.spec.check())
    }
}

/// A supervisor: its strategy and its children, in the order in which they start.
#[derive(Clone)]
pub struct SupervisorSpec {
    pub(crate) strategy: Strategy,
    pub(crate) children: Vec<ChildSpec>,
    pub(crate) exits: Option<Port<ChildExited>>,
    pub(crate) together: bool,
}

impl SupervisorSpec {
    /// A supervisor without children yet.
    #[must_use]
    pub fn new(strategy: Strategy) -> Self {
        Self { strategy, children: Vec::new(), exits: None, together: false }
    }

    /// Adds a child, started after those before it and stopped before them. Its id is checked when the tree starts.
    #[must_use]
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// Starts all children at once instead of each when the one before it is ready. The supervisor is ready when all are.
    #[must_use]
    pub fn start_together(mut self) -> Self {
        self.together = true;
        self
    }

    /// Sends every exit of a child to `port`.
    #[must_use]
    pub fn report_exits(mut self, port: Port<ChildExited>) -> Self {
        self.exits = Some(port);
        self
    }

    pub(crate) fn check(&self) -> Result<(), SpecError> {
        let mut ids = HashSet::new();
        for child in &self.children {
            child.check()?;
            if !ids.insert(&child.id) {
                return Err(SpecError::DuplicateId(child.id.to_string()));
            }
        }
        Ok(())
    }
}
