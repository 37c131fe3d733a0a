//! What all supervisors of one tree share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::lane::{Lane, Thread};
use super::root::{RootEnd, RootOptions};

/// Beats of a heartbeat within the time after which its owner counts as wedged.
const BEATS: u32 = 10;

/// Cheap to clone; clones are the same realm.
#[derive(Debug, Clone)]
pub(super) struct Realm(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: RootOptions,
    root_lane: Lane,
    /// Every lane that a child was put on.
    lanes: Mutex<Vec<Lane>>,
    /// Threads given up; some may end yet.
    leaked: Mutex<Vec<Thread>>,
    /// Why the root supervisor gives up, written down before it ends.
    verdict: Mutex<Option<RootEnd>>,
    end: watch::Sender<Option<RootEnd>>,
}

impl Realm {
    pub(super) fn new(options: RootOptions) -> Self {
        let root_lane = Lane::root(options.wedge_after / BEATS);
        Self(Arc::new(Inner {
            options,
            root_lane,
            lanes: Mutex::default(),
            leaked: Mutex::default(),
            verdict: Mutex::default(),
            end: watch::Sender::new(None),
        }))
    }

    pub(super) fn options(&self) -> &RootOptions {
        &self.0.options
    }

    pub(super) fn beat_every(&self) -> Duration {
        self.0.options.wedge_after / BEATS
    }

    pub(super) fn root_lane(&self) -> &Lane {
        &self.0.root_lane
    }

    /// Remembers a lane, so that its heartbeat is watched and its thread joined.
    pub(super) fn know(&self, lane: &Lane) {
        let mut lanes = locked(&self.0.lanes);
        if !lane.same(&self.0.root_lane) && !lanes.iter().any(|known| known.same(lane)) {
            lanes.push(lane.clone());
        }
    }

    pub(super) fn lanes(&self) -> Vec<Lane> {
        locked(&self.0.lanes).clone()
    }

    /// Threads that were given up and have not ended since.
    pub(super) fn leaked(&self) -> usize {
        let mut leaked = locked(&self.0.leaked);
        leaked.retain(Thread::is_alive);
        leaked.len()
    }

    pub(super) fn leak(&self, thread: Thread) {
        locked(&self.0.leaked).push(thread);
    }

    pub(super) fn take_leaked(&self) -> Vec<Thread> {
        std::mem::take(&mut locked(&self.0.leaked))
    }

    pub(super) fn rule(&self, verdict: RootEnd) {
        locked(&self.0.verdict).get_or_insert(verdict);
    }

    pub(super) fn verdict(&self) -> Option<RootEnd> {
        locked(&self.0.verdict).clone()
    }

    /// Says that the root is over; the first word counts.
    pub(super) fn end(&self, end: RootEnd) {
        self.0.end.send_if_modified(|slot| {
            let first = slot.is_none();
            slot.get_or_insert(end);
            first
        });
    }

    pub(super) fn ended(&self) -> watch::Receiver<Option<RootEnd>> {
        self.0.end.subscribe()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
