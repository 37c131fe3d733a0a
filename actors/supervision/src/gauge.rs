//! Counts and bounds the messages of one mailbox, on the sender's side.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The number of messages that wait in a mailbox, and of those it refused.
#[derive(Debug)]
pub struct Gauge {
    limit: usize,
    waiting: AtomicUsize,
    refused: AtomicU64,
}

impl Gauge {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, waiting: AtomicUsize::new(0), refused: AtomicU64::new(0) }
    }

    /// Messages not yet handled.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Messages refused since the start because the mailbox was full.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Reserves a place; returns `false` and counts a refusal if the mailbox is full.
    pub(crate) fn enter(&self) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.limit {
            return true;
        }
        self.leave(1);
        self.refused.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Releases places.
    pub(crate) fn leave(&self, places: usize) {
        self.waiting.fetch_sub(places, Ordering::Relaxed);
    }
}
