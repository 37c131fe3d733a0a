//! The monotonic clock as a [`Duration`], for plans and atomics.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Time since the first call in this process. Never decreases; comparable within one process only.
pub(crate) fn now() -> Duration {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    EPOCH.get_or_init(Instant::now).elapsed()
}
