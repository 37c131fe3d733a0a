//! The monotonic clock as a plain number, so that plans and atomics can hold it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Time since the first call in this process. Never goes back; comparable within one process only.
pub(crate) fn now() -> Duration {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    EPOCH.get_or_init(Instant::now).elapsed()
}
