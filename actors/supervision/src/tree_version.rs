//! Counts the changes of a tree.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// The number of changes. Nearly all of them are starts and ends of short-lived children, so one costs a few atomic operations while no
/// caller waits for it.
#[derive(Default)]
pub(crate) struct TreeVersion {
    number: AtomicU64,
    on_change: OnceLock<Box<dyn Fn() + Send + Sync>>,
    waiters: watch::Sender<u64>,
}

impl TreeVersion {
    /// A change was made. Called without a lock: the notified code may read the tree.
    pub(crate) fn changed(&self) {
        self.number.fetch_add(1, Ordering::SeqCst);
        if let Some(notify) = self.on_change.get() {
            notify();
        }
        // A later subscriber has seen the present version.
        if self.waiters.receiver_count() > 0 {
            self.waiters.send_modify(|version| *version += 1);
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::SeqCst)
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.waiters.subscribe()
    }

    /// Only the first call counts.
    pub(crate) fn on_change(&self, notify: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_change.set(Box::new(notify));
    }
}

impl fmt::Debug for TreeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeVersion").field("number", &self.number).finish_non_exhaustive()
    }
}
