//! The events that a plan takes, the steps that it returns, and the states of a child.

use std::sync::Arc;
use std::time::Duration;

use crate::exit::ExitReason;
use crate::messages::OperatorCommand;
use crate::policy::RestartPolicy;
use crate::restart::Restart;

use super::child_slots::ChildKey;

/// Identifies an incarnation of a child within one incarnation of the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RunId {
    pub(super) key: ChildKey,
    /// Unique; 0 before the first.
    pub(super) number: u64,
}

impl RunId {
    /// The only incarnation of the root supervisor, which is in no plan.
    pub(crate) const ROOT: Self = Self { key: ChildKey::NONE, number: 0 };
}

/// The options of one child.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ChildOptions {
    pub(crate) id: Arc<str>,
    pub(crate) restart: Restart,
    pub(crate) policy: RestartPolicy,
    pub(crate) grace: Option<Duration>,
    /// Timeout until it is ready.
    pub(crate) ready_within: Option<Duration>,
}

/// An event for the plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum SupervisorEvent {
    /// The supervisor itself has started.
    Start,
    /// A child was added while the supervisor runs.
    Added,
    Ready {
        run: RunId,
    },
    Ended {
        run: RunId,
        reason: ExitReason,
    },
    Due(ChildTimer),
    Operate {
        key: ChildKey,
        command: OperatorCommand,
    },
    /// Stop it and remove it.
    Remove {
        key: ChildKey,
    },
    /// The supervisor itself is requested to stop.
    Shutdown,
}

/// A timer of a child. Each has the run that it was set for, and is ignored once that run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ChildTimer {
    Backoff(RunId),
    Grace(RunId),
    Kill(RunId),
    Late(RunId),
}

/// A step for the supervisor to carry out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum SupervisorStep {
    Launch {
        key: ChildKey,
        run: RunId,
    },
    Stop {
        key: ChildKey,
    },
    Kill {
        key: ChildKey,
    },
    /// It was not dropped in time: fence it and continue without it.
    Abandon {
        key: ChildKey,
    },
    /// Replaces the child's timer.
    Wait {
        key: ChildKey,
        length: Duration,
        timer: ChildTimer,
    },
    /// Refuse the messages in its mailbox and further ones until it is started again.
    CloseMailbox {
        key: ChildKey,
    },
    Forget {
        key: ChildKey,
    },
    /// All children have stopped; end with this.
    Finish {
        reason: ExitReason,
        exceeded: Option<Exceeded>,
    },
}

/// The child whose restart intensity was exceeded, which ends its supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Exceeded {
    pub(crate) id: Arc<str>,
    pub(crate) reason: ExitReason,
}

/// The state of one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum PlanState {
    Queued,
    Starting,
    Running,
    Stopping(AfterStop),
    Backoff,
    /// Not started until an operator starts it.
    Stopped,
    /// Not restarted until an operator resets it.
    Failed,
}

/// What follows a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum AfterStop {
    Restart,
    Stay,
    /// It was not ready in time, which counts as an error.
    FailLate,
}

impl PlanState {
    pub(crate) fn is_live(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping(_))
    }
}
