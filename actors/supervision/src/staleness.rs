//! Decides which heartbeats are too old. No clock: the time is an argument.

use std::time::Duration;

/// Finds heartbeats that are too old. A check that ran late itself (suspended machine, SIGSTOP, no CPU time) cannot distinguish
/// an owner that hangs from one that got no CPU time, so every owner gets a new deadline.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Staleness {
    allowance: Duration,
    last_check: Duration,
    /// Missing heartbeats before this moment do not count.
    floor: Duration,
}

impl Staleness {
    pub(crate) fn new(allowance: Duration, now: Duration) -> Self {
        Self { allowance, last_check: now, floor: now }
    }

    /// Begins a check, normally a tenth of the allowance after the last one. Returns the time since the last one if that is half
    /// the allowance or more.
    pub(crate) fn check(&mut self, now: Duration) -> Option<Duration> {
        let since_last = now.saturating_sub(self.last_check);
        self.last_check = now;
        if since_last < self.allowance / 2 {
            return None;
        }
        self.floor = now;
        Some(since_last)
    }

    /// Whether a heartbeat last seen at `last` is too old.
    pub(crate) fn is_stale(&self, last: Duration, now: Duration) -> bool {
        now.saturating_sub(last.max(self.floor)) > self.allowance
    }

    /// Whether an actor hangs although its thread runs. Compared with the thread's last beat, because actors have no heartbeat while their
    /// thread does not run.
    pub(crate) fn hangs(&self, actor: Duration, thread: Duration) -> bool {
        self.is_stale(actor, thread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn heartbeat_is_stale_only_past_the_allowance() {
        let start = 100 * S;
        let staleness = Staleness::new(5 * S, start);
        assert!(!staleness.is_stale(start, start + 5 * S));
        assert!(staleness.is_stale(start, start + 6 * S));
    }

    #[test]
    fn check_that_ran_late_renews_every_deadline() {
        let start = 100 * S;
        let mut staleness = Staleness::new(5 * S, start);
        assert_eq!(staleness.check(start + S), None);
        assert_eq!(staleness.check(start + 60 * S), Some(59 * S));
        assert!(!staleness.is_stale(start, start + 65 * S));
        assert!(staleness.is_stale(start, start + 66 * S));
    }

    #[test]
    fn actor_on_an_unresponsive_thread_does_not_count_as_hanging() {
        let start = 100 * S;
        let staleness = Staleness::new(5 * S, start);
        assert!(!staleness.hangs(start, start + S), "compared at 1 s, when the thread last ran");
        assert!(staleness.hangs(start, start + 6 * S));
    }
}
