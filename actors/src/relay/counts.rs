//! What a link counts for its view.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A connector that sends one bad line sends more; one warning a minute is enough.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// Counts since the actor started.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) frames: BTreeMap<String, u64>,
    pub(super) skipped: u64,
    /// Frames that could not be used and are kept in the ledger.
    pub(super) dead_letters: u64,
    pub(super) last_inbound: Option<Instant>,
    pub(super) last_ack: Option<Instant>,
    warned: Option<Instant>,
}

impl Counts {
    /// Counts a frame of this kind; the kinds are ours, so that a connector cannot make up new ones.
    pub(super) fn frame(&mut self, kind: &'static str) {
        match self.frames.get_mut(kind) {
            Some(count) => *count += 1,
            None => {
                self.frames.insert(kind.to_owned(), 1);
            }
        }
    }

    /// Counts a line that was skipped; answers whether it is time for another warning.
    pub(super) fn skip(&mut self, now: Instant) -> bool {
        self.skipped += 1;
        let due = self.warned.is_none_or(|then| now.saturating_duration_since(then) >= WARN_EVERY);
        if due {
            self.warned = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_lines_are_warned_of_once_a_minute() {
        let (mut counts, now) = (Counts::default(), Instant::now());
        assert!(counts.skip(now));
        assert!(!counts.skip(now + WARN_EVERY / 2));
        assert!(counts.skip(now + WARN_EVERY));
        assert_eq!(counts.skipped, 3);
    }
}
