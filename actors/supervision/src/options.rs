//! The options of a tree, and how it ended.

use std::fmt;
use std::time::Duration;

use crate::exit::ExitReason;
use crate::watchdog::Watchdog;

/// The options of a tree.
#[derive(Debug, Clone)]
pub struct RootOptions {
    /// A thread or an actor without a heartbeat for longer than this counts as unresponsive. Blocking work must be shorter, or
    /// run on a thread that is not replaceable.
    pub unresponsive_after: Duration,
    /// Unresponsive threads that may be leaked; one more ends the tree.
    pub max_leaked_threads: usize,
    /// Whether [`InjectFault`](crate::InjectFault) is accepted.
    #[cfg(feature = "fault-injection")]
    pub faults_allowed: bool,
    /// Watches the root's own thread.
    pub watchdog: Option<Watchdog>,
}

impl Default for RootOptions {
    /// 5 s, 2 threads, no faults, no watchdog.
    fn default() -> Self {
        Self {
            unresponsive_after: Duration::from_secs(5),
            max_leaked_threads: 2,
            #[cfg(feature = "fault-injection")]
            faults_allowed: false,
            watchdog: None,
        }
    }
}

/// How a tree ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootEnd {
    /// It was stopped by [`RootHandle::stop`](crate::RootHandle::stop).
    Shutdown,
    /// A child of the root exceeded its restart intensity.
    IntensityExceeded {
        /// Its path; empty if the root supervisor itself ended.
        path: String,
        /// How it last ended.
        reason: ExitReason,
    },
    /// More threads are unresponsive than may be leaked. The children still run.
    TooManyUnresponsive,
}

impl fmt::Display for RootEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shutdown => f.write_str("the tree was stopped"),
            Self::IntensityExceeded { path, .. } if path.is_empty() => f.write_str("the root supervisor ended"),
            // The text of a panic may contain private data; the stable name does not.
            Self::IntensityExceeded { path, reason } => {
                write!(f, "{path} exceeded its restart intensity ({})", reason.word())
            }
            Self::TooManyUnresponsive => f.write_str("too many threads are unresponsive"),
        }
    }
}
