//! At most ten snapshots a second, whatever asks for them. Pure: the time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Snapshots that are made within [`WINDOW`] at most.
const MOST: usize = 10;
const WINDOW: Duration = Duration::from_secs(1);

/// The times of the last snapshots. It outlives every incarnation of the status: a restart does not permit more.
#[derive(Debug, Default)]
pub(super) struct SnapshotLimit {
    made: VecDeque<Instant>,
}

impl SnapshotLimit {
    /// How long the next snapshot has to wait; zero if it may be made now. `begun`: one is being made.
    pub(super) fn wait(&self, now: Instant, begun: bool) -> Duration {
        let others = MOST - usize::from(begun);
        let Some(first) = self.made.len().checked_sub(others) else { return Duration::ZERO };
        let first = self.made.get(first);
        first.map_or(Duration::ZERO, |made| (*made + WINDOW).saturating_duration_since(now))
    }

    /// A snapshot was made.
    pub(super) fn made(&mut self, now: Instant) {
        if self.made.len() == MOST {
            self.made.pop_front();
        }
        self.made.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_snapshot_waits_until_the_first_is_a_second_old() {
        let (mut limit, start) = (SnapshotLimit::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for ms in 0..10 {
            assert_eq!(limit.wait(at(ms), false), Duration::ZERO);
            limit.made(at(ms));
        }
        assert_eq!(limit.wait(at(10), false), Duration::from_millis(990));
        assert_eq!(limit.wait(at(1_000), false), Duration::ZERO);
        limit.made(at(1_000));
        assert_eq!(limit.wait(at(1_000), false), Duration::from_millis(1));
    }

    #[test]
    fn a_snapshot_that_is_being_made_counts() {
        let (mut limit, start) = (SnapshotLimit::default(), Instant::now());
        for _ in 0..9 {
            limit.made(start);
        }
        assert_eq!(limit.wait(start, false), Duration::ZERO);
        assert_eq!(limit.wait(start, true), WINDOW);
    }
}
