//! Counts and bounds the messages of one mailbox, at the sender's side.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How full a mailbox is, and how many messages it refused.
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

    /// A gauge for a plain actix address, whose mailbox this crate does not bound.
    pub(crate) fn unbounded() -> Self {
        Self::new(usize::MAX)
    }

    /// Messages that wait to be handled.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Messages refused since the start because the mailbox was full.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Takes a place, or counts a refusal.
    pub(crate) fn enter(&self) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.limit {
            return true;
        }
        self.leave();
        self.refused.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Gives a place back.
    pub(crate) fn leave(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
