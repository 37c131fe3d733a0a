//! The values that define when a child is restarted and when it is ready.

use std::time::Duration;

/// When an ended child is started again.
///
/// | | `Normal`, `Shutdown` | `Panic`, `Error`, `Killed`, `Unresponsive` | `Fatal` |
/// |---|---|---|---|
/// | `Permanent` | restarted | restarted | state `failed` |
/// | `Transient` | stopped | restarted | state `failed` |
/// | `Temporary` | removed | removed | removed |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Restart {
    /// Always.
    Permanent,
    /// Only after an abnormal exit.
    Transient,
    /// Never; it is removed from the tree when it ends.
    Temporary,
}

/// When a child counts as ready, so that its next sibling may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Readiness {
    /// When its `started` hook has returned.
    Started,
    /// When it calls [`Incarnation::ready`](crate::Incarnation::ready).
    Reported {
        /// A child that takes longer is stopped, and that counts as an error.
        within: Duration,
    },
}

/// Which siblings restart together with a child that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// None.
    OneForOne,
    /// All of them.
    OneForAll,
    /// Those started after it.
    RestForOne,
}
