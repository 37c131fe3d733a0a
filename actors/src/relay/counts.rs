//! What a link counts for its view. It outlives every incarnation of the actor: a restart sets no count back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A connector that sends one bad line sends more; one warning a minute is enough.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// The counts of one link since the process started. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct LinkCounts(Arc<Mutex<Counted>>);

#[derive(Debug, Clone, Default)]
pub(super) struct Counted {
    pub(super) frames: BTreeMap<String, u64>,
    pub(super) skipped: u64,
    /// Frames that could not be used and are kept in the ledger.
    pub(super) dead_letters: u64,
    pub(super) dials: u64,
    pub(super) last_inbound: Option<Instant>,
    pub(super) last_ack: Option<Instant>,
    warned: Option<Instant>,
}

impl LinkCounts {
    /// Counts a frame of this kind; the kinds are ours, so that a connector cannot make up new ones.
    pub(super) fn frame(&self, kind: &'static str) {
        let mut counted = self.lock();
        match counted.frames.get_mut(kind) {
            Some(count) => *count += 1,
            None => {
                counted.frames.insert(kind.to_owned(), 1);
            }
        }
    }

    /// The connector sent something at `now`.
    pub(super) fn inbound(&self, now: Instant) {
        self.lock().last_inbound = Some(now);
    }

    /// Something was acknowledged at `now`.
    pub(super) fn acked(&self, now: Instant) {
        self.lock().last_ack = Some(now);
    }

    /// A frame is kept in the ledger as it came.
    pub(super) fn dead_letter(&self) {
        self.lock().dead_letters += 1;
    }

    /// A dial begins.
    pub(super) fn dial(&self) {
        self.lock().dials += 1;
    }

    /// Counts a line that was skipped; answers how many there are, if it is time for another warning.
    pub(super) fn skip(&self, now: Instant) -> Option<u64> {
        let mut counted = self.lock();
        counted.skipped += 1;
        let due = counted.warned.is_none_or(|then| now.saturating_duration_since(then) >= WARN_EVERY);
        if due {
            counted.warned = Some(now);
        }
        due.then_some(counted.skipped)
    }

    /// All of it by now.
    pub(super) fn get(&self) -> Counted {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
