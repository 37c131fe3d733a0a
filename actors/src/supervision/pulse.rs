//! When something last showed that it lives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// One sign of life, written by its owner and readable from any thread, also from the watchdog's while the owner
/// hangs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// A pulse that beats now.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(micros(Instant::now()))))
    }

    /// Shows life.
    pub fn beat(&self) {
        self.0.store(micros(Instant::now()), Ordering::Relaxed);
    }

    /// When it last beat.
    #[must_use]
    pub fn last(&self) -> Instant {
        epoch() + Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    /// How long ago it last beat.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.last().elapsed()
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

/// `Instant` has no atomic form, so pulses count from the first of them.
fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

fn micros(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(epoch()).as_micros()).unwrap_or(u64::MAX)
}
