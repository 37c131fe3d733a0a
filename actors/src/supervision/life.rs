//! One incarnation of a child: who it is, whether it is still the current one, why it ended.
//!
//! The runner makes a [`Life`] for every start and makes it *current* on the thread while it polls the
//! actor. So a [`Port`](super::Port) knows who sends, and drops what a fenced instance sends when it
//! wakes, and the panic hook knows who panicked, without any actor passing anything along.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::exit::ExitReason;

/// The handle an actor has on its own incarnation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Life(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Path in the tree, such as `relays/relay`.
    path: String,
    generation: u64,
    fenced: AtomicBool,
    ready: tokio::sync::watch::Sender<bool>,
    end: OnceLock<ExitReason>,
}

impl Life {
    /// A life for the given incarnation, not ready and not fenced.
    #[must_use]
    pub fn new(path: impl Into<String>, generation: u64) -> Self {
        Self(Arc::new(Inner {
            path: path.into(),
            generation,
            fenced: AtomicBool::new(false),
            ready: tokio::sync::watch::Sender::new(false),
            end: OnceLock::new(),
        }))
    }

    /// Path of the child in the tree, such as `relays/relay`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Counts the incarnations of this child, from 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// Says that this child can serve: the next sibling may start. Saying it twice is fine.
    pub fn ready(&self) {
        self.0.ready.send_replace(true);
    }

    /// Waits until [`Life::ready`] was called.
    pub async fn until_ready(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.0.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Records why this incarnation is about to stop itself; the first reason counts. The caller
    /// stops its context right after.
    pub fn end_with(&self, reason: ExitReason) {
        let _ = self.0.end.set(reason);
    }

    /// The reason given to [`Life::end_with`], if any.
    #[must_use]
    pub fn end(&self) -> Option<&ExitReason> {
        self.0.end.get()
    }

    /// Cuts this incarnation off: whatever it still sends is dropped.
    pub fn fence(&self) {
        self.0.fenced.store(true, Ordering::SeqCst);
    }

    /// Whether this incarnation has been cut off.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.0.fenced.load(Ordering::SeqCst)
    }

    /// The incarnation that this thread is working for at the moment, if any.
    #[must_use]
    pub fn current() -> Option<Life> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Whether this thread works at the moment for an incarnation that has been cut off.
    #[must_use]
    pub fn current_is_fenced() -> bool {
        CURRENT.with_borrow(|life| life.as_ref().is_some_and(Life::is_fenced))
    }

    /// Runs `work` with this life as the current one of the thread, also when it unwinds.
    pub fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        struct Restore(Option<Life>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self.clone())));
        work()
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Life>> = const { RefCell::new(None) };
}
