//! What goes into a plan and what comes out of it.

use std::time::Duration;

use crate::supervision::exit::ExitReason;
use crate::supervision::messages::Order;
use crate::supervision::policy::RestartPolicy;
use crate::supervision::spec::Restart;

/// Names a child within one supervisor's life; ids may be taken again, keys are not.
pub(in crate::supervision) type Key = u64;

/// How the plan is to keep one child.
#[derive(Debug)]
pub(in crate::supervision) struct Terms {
    pub(in crate::supervision) id: String,
    pub(in crate::supervision) restart: Restart,
    pub(in crate::supervision) policy: RestartPolicy,
    pub(in crate::supervision) grace: Option<Duration>,
    /// How long it may take to become ready.
    pub(in crate::supervision) ready_within: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq)]
pub(in crate::supervision) enum Event {
    /// The supervisor itself has started.
    Start,
    /// A child was added while the supervisor runs.
    Added,
    Ready {
        run: u64,
    },
    Ended {
        run: u64,
        reason: ExitReason,
    },
    Due(Timer),
    Order {
        key: Key,
        order: Order,
    },
    /// Stop it and forget it.
    Remove {
        key: Key,
    },
    /// The supervisor itself is asked to stop.
    Shutdown,
}

/// A timer that has run out; each carries the run that it was set for, and is void once that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervision) enum Timer {
    Backoff(u64),
    Grace(u64),
    Kill(u64),
    Late(u64),
}

#[derive(Debug, Clone, PartialEq)]
pub(in crate::supervision) enum Step {
    Launch {
        key: Key,
        run: u64,
    },
    Stop {
        key: Key,
    },
    Kill {
        key: Key,
    },
    /// It does not even drop: fence it and go on.
    Abandon {
        key: Key,
    },
    /// Replaces the child's timer.
    Wait {
        key: Key,
        length: Duration,
        timer: Timer,
    },
    /// Nobody will answer what waits in its mailbox.
    Drain {
        key: Key,
    },
    Forget {
        key: Key,
    },
    /// All children are down; end with this.
    Finish {
        reason: ExitReason,
        spent: Option<Spent>,
    },
}

/// The child whose spent budget brought its supervisor down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::supervision) struct Spent {
    pub(in crate::supervision) id: String,
    pub(in crate::supervision) reason: ExitReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervision) enum State {
    Queued,
    Starting,
    Running,
    Stopping(Then),
    Backoff,
    /// Down until an operator says otherwise.
    Down,
    /// Parked.
    Failed,
}

/// What follows a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervision) enum Then {
    Up,
    Down,
    /// It was not ready in time, which counts as an error.
    JudgeLate,
}

impl State {
    pub(super) fn is_live(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping(_))
    }
}
