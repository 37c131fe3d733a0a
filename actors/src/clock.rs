//! The monotonic clock as a plain number, so that plans can hold times.

use std::time::{Duration, Instant};

/// A monotonic clock that begins at zero. An actor starts one for each incarnation; a gate that outlives its actors has one of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Time since the start.
    pub(crate) fn now(self) -> Duration {
        self.started.elapsed()
    }

    /// `then` on this clock; zero if that was before the start.
    pub(crate) fn at(self, then: Instant) -> Duration {
        then.saturating_duration_since(self.started)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::start()
    }
}
