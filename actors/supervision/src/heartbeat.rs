//! The time of the last progress of a thread or an actor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::monotonic;

/// The time of the last beat. Written by its owner; readable from any thread, also while the owner hangs. Cheap to clone; clones
/// share one heartbeat.
///
/// ```
/// use caduceus_supervision::Heartbeat;
///
/// let heartbeat = Heartbeat::new();
/// heartbeat.beat();
/// assert!(heartbeat.age().as_secs() < 60);
/// ```
#[derive(Debug, Clone)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// A heartbeat whose first beat is now.
    #[must_use]
    pub fn new() -> Self {
        let heartbeat = Self(Arc::new(AtomicU64::new(0)));
        heartbeat.beat();
        heartbeat
    }

    /// Records progress.
    pub fn beat(&self) {
        let micros = u64::try_from(monotonic::now().as_micros()).unwrap_or(u64::MAX);
        // Of two who beat, the one that was interrupted meanwhile does not undo the later beat.
        self.0.fetch_max(micros, Ordering::Relaxed);
    }

    /// Time since the last beat.
    #[must_use]
    pub fn age(&self) -> Duration {
        monotonic::now().saturating_sub(self.last())
    }

    /// Time of the last beat, on the clock of [`monotonic::now`].
    pub(crate) fn last(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}
