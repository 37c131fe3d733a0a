//! The counters of a link for its view. They outlive every incarnation of the actor: a restart resets none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::locked::locked;

/// A connector that sends one bad line sends more; one warning a minute is enough.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// The counters of one link since the process started. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct LinkCounts(Arc<Mutex<LinkCounters>>);

#[derive(Debug, Clone, Default)]
pub(super) struct LinkCounters {
    pub(super) frames: BTreeMap<String, u64>,
    pub(super) skipped: u64,
    /// Frames that could not be used and are stored in the ledger.
    pub(super) dead_letters: u64,
    pub(super) dials: u64,
    pub(super) last_inbound: Option<Instant>,
    pub(super) last_ack: Option<Instant>,
    warned: Option<Instant>,
}

impl LinkCounts {
    /// Counts a frame of this kind; the set of kinds is fixed, so a connector cannot add new ones.
    pub(super) fn frame(&self, kind: &'static str) {
        let mut counted = self.lock();
        match counted.frames.get_mut(kind) {
            Some(count) => *count += 1,
            None => {
                counted.frames.insert(kind.to_owned(), 1);
            }
        }
    }

    /// The connector sent a frame at `now`.
    pub(super) fn inbound(&self, now: Instant) {
        self.lock().last_inbound = Some(now);
    }

    /// A frame was acknowledged at `now`.
    pub(super) fn acked(&self, now: Instant) {
        self.lock().last_ack = Some(now);
    }

    /// A frame was stored in the ledger as a dead letter.
    pub(super) fn dead_letter(&self) {
        self.lock().dead_letters += 1;
    }

    /// A dial begins.
    pub(super) fn dial(&self) {
        self.lock().dials += 1;
    }

    /// Counts a skipped line; returns the count when another warning is due.
    pub(super) fn skip(&self, now: Instant) -> Option<u64> {
        let mut counted = self.lock();
        counted.skipped += 1;
        let due = counted.warned.is_none_or(|then| now.saturating_duration_since(then) >= WARN_EVERY);
        if due {
            counted.warned = Some(now);
        }
        due.then_some(counted.skipped)
    }

    /// A copy of all counters.
    pub(super) fn get(&self) -> LinkCounters {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, LinkCounters> {
        locked(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_lines_are_warned_of_once_a_minute() {
        let (counts, now) = (LinkCounts::default(), Instant::now());
        assert_eq!(counts.skip(now), Some(1));
        assert_eq!(counts.skip(now + WARN_EVERY / 2), None);
        assert_eq!(counts.skip(now + WARN_EVERY), Some(3));
        assert_eq!(counts.get().skipped, 3);
    }

    #[test]
    fn the_next_incarnation_counts_on() {
        let counts = LinkCounts::default();
        counts.frame("inbound");
        counts.clone().frame("inbound");
        assert_eq!(counts.get().frames["inbound"], 2);
    }
}
