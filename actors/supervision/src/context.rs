//! The state that all supervisors of one tree share.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::locked::locked;
use crate::options::{RootEnd, RootOptions};
use crate::watchdog::Watchdog;
use crate::worker_thread::{ArbiterThread, WorkerThread};

/// Checks of a heartbeat within the time after which its owner counts as unresponsive.
const CHECKS: u32 = 10;

/// The shared state of one tree. Cheap to clone; clones share one state.
#[derive(Debug, Clone)]
pub(crate) struct SystemContext(Arc<ContextState>);

#[derive(Debug)]
struct ContextState {
    options: RootOptions,
    root_thread: WorkerThread,
    /// Every thread on which a child was started.
    threads: Mutex<Vec<WorkerThread>>,
    /// Leaked threads; some may still end.
    leaked: Mutex<Vec<ArbiterThread>>,
    /// Why the root supervisor ends, recorded before it does.
    cause: Mutex<Option<RootEnd>>,
    end: watch::Sender<Option<RootEnd>>,
}

impl SystemContext {
    pub(crate) fn new(options: RootOptions) -> Self {
        let root_thread = WorkerThread::root();
        Self(Arc::new(ContextState {
            options,
            root_thread,
            threads: Mutex::default(),
            leaked: Mutex::default(),
            cause: Mutex::default(),
            end: watch::Sender::new(None),
        }))
    }

    pub(crate) fn options(&self) -> &RootOptions {
        &self.0.options
    }

    /// The time between two checks of heartbeats, each of which requests the next beats. The watchdog requests none, so its own time counts
    /// as well.
    pub(crate) fn check_every(&self) -> Duration {
        let options = &self.0.options;
        let watched = options.watchdog.as_ref().map(Watchdog::stale_after);
        watched.map_or(options.unresponsive_after, |time| time.min(options.unresponsive_after)) / CHECKS
    }

    pub(crate) fn root_thread(&self) -> &WorkerThread {
        &self.0.root_thread
    }

    /// Registers a thread, so that its heartbeat is watched and the thread joined.
    pub(crate) fn register(&self, thread: &WorkerThread) {
        let mut threads = locked(&self.0.threads);
        if !thread.same(&self.0.root_thread) && !threads.iter().any(|registered| registered.same(thread)) {
            threads.push(thread.clone());
        }
    }

    pub(crate) fn threads(&self) -> Vec<WorkerThread> {
        locked(&self.0.threads).clone()
    }

    /// Leaked threads that have not ended.
    pub(crate) fn leaked(&self) -> usize {
        let mut leaked = locked(&self.0.leaked);
        leaked.retain(ArbiterThread::is_alive);
        leaked.len()
    }

    pub(crate) fn leak(&self, thread: ArbiterThread) {
        locked(&self.0.leaked).push(thread);
    }

    pub(crate) fn take_leaked(&self) -> Vec<ArbiterThread> {
        std::mem::take(&mut locked(&self.0.leaked))
    }

    /// Records why the root supervisor is about to end; the first cause counts.
    pub(crate) fn set_cause(&self, cause: RootEnd) {
        locked(&self.0.cause).get_or_insert(cause);
    }

    pub(crate) fn cause(&self) -> Option<RootEnd> {
        locked(&self.0.cause).clone()
    }

    /// Records that the tree has ended; the first end counts.
    pub(crate) fn end(&self, end: RootEnd) {
        self.0.end.send_if_modified(|slot| {
            let first = slot.is_none();
            slot.get_or_insert(end);
            first
        });
    }

    pub(crate) fn ended(&self) -> watch::Receiver<Option<RootEnd>> {
        self.0.end.subscribe()
    }
}
