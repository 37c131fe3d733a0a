//! The timers of all children, of which the supervisor waits for the first: a context polls all its futures whenever one wakes. Not a part
//! of the plan, because it is about the clock.

use std::collections::BTreeMap;

use actix::SpawnHandle;
use tokio::time::Instant;

use crate::plan::{ChildKey, ChildTimer};

/// The timers that are set, at most one for each child.
#[derive(Default)]
pub(super) struct ChildTimers {
    due: BTreeMap<(Instant, ChildKey), ChildTimer>,
    /// The next wake-up and its time, which is not after the first timer.
    pub(super) wake: Option<(Instant, SpawnHandle)>,
}

impl ChildTimers {
    pub(super) fn set(&mut self, at: Instant, key: ChildKey, timer: ChildTimer) {
        self.due.insert((at, key), timer);
    }

    /// Removes the timer of a child that is due at `at`. A wake-up for it stays: it finds nothing due.
    pub(super) fn remove(&mut self, at: Instant, key: ChildKey) {
        self.due.remove(&(at, key));
    }

    /// When the next wake-up is needed, if none that is set is early enough.
    pub(super) fn needs_wake(&self) -> Option<Instant> {
        let ((first, _), _) = self.due.first_key_value()?;
        self.wake.as_ref().is_none_or(|(wake, _)| wake > first).then_some(*first)
    }

    /// Takes the next timer that is due, with its child.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<(ChildKey, ChildTimer)> {
        let first = self.due.first_entry()?;
        (first.key().0 <= now).then(|| {
            let ((_, key), timer) = first.remove_entry();
            (key, timer)
        })
    }
}
