//! Whether an actor runs, without a timer of its own.
//!
//! The heartbeat check requests a beat, and the actor answers when its context is polled. An actor that was not polled since its last
//! answer cannot have begun to hang, so it is asked rarely, and an idle actor costs almost nothing. An actor that runs by itself, by
//! a timer or by messages, answers without being woken; only one that was not polled for a part of the period is woken for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::monotonic;

/// An actor that has not answered for this part of the period is woken. Most timers of actors fire within it.
const WOKEN_AFTER: u32 = 4;

/// The heartbeat of one incarnation. The check on the root's thread makes requests; the actor's thread polls and answers.
#[derive(Debug)]
pub(crate) struct ActorHeartbeat {
    /// When the request was made that is not answered yet, in microseconds on the clock of [`monotonic::now`]; 0 without one. The other
    /// fields of a request are set before it, and have no meaning without one.
    requested: AtomicU64,
    /// Since when the answer is awaited: the actor was woken, or polled without an answer. 0 before.
    awaited: AtomicU64,
    /// The actor was started or woken for the request.
    woken: AtomicBool,
    /// When the last request was made.
    last_request: AtomicU64,
    /// The actor was polled by itself since the last request.
    polled: AtomicBool,
}

impl ActorHeartbeat {
    /// The heartbeat of an actor that is about to start; its first poll is requested.
    pub(crate) fn new() -> Self {
        let now = micros(monotonic::now());
        Self {
            requested: AtomicU64::new(now),
            awaited: AtomicU64::new(now),
            woken: AtomicBool::new(true),
            last_request: AtomicU64::new(now),
            polled: AtomicBool::new(true),
        }
    }

    /// The runner polls the actor. A poll for which the actor was woken does not count.
    pub(crate) fn polled(&self) {
        if self.requested().is_some() {
            self.await_since(monotonic::now);
            if self.woken.load(Ordering::Relaxed) {
                return;
            }
        }
        if !self.polled.load(Ordering::Relaxed) {
            self.polled.store(true, Ordering::Relaxed);
        }
    }

    /// The actor does not wait and handles messages.
    pub(crate) fn answer(&self) {
        if self.requested.load(Ordering::Relaxed) != 0 {
            self.requested.store(0, Ordering::Release);
        }
    }

    /// Requests a beat if the actor was polled since the last request, or was not asked for `at_least_every`. Returns whether the actor
    /// has to be woken: it has not answered for a while, and was not woken for this request. Only the heartbeat check calls this.
    pub(crate) fn request(&self, now: Duration, at_least_every: Duration) -> bool {
        if let Some(asked) = self.requested() {
            if now.saturating_sub(asked) < at_least_every / WOKEN_AFTER {
                return false;
            }
            // If the actor answers now, both are set again for the next request.
            self.await_since(|| now);
            return !self.woken.swap(true, Ordering::Relaxed);
        }
        let last = Duration::from_micros(self.last_request.load(Ordering::Relaxed));
        // The period is for a wait that begins in the poll that answers: no later poll would show it.
        if self.polled.swap(false, Ordering::Relaxed) || now.saturating_sub(last) >= at_least_every {
            self.last_request.store(micros(now), Ordering::Relaxed);
            self.awaited.store(0, Ordering::Relaxed);
            self.woken.store(false, Ordering::Relaxed);
            self.requested.store(micros(now), Ordering::Release);
        }
        false
    }

    /// Since when the actor, woken or polled, has not answered. `None` while it waits for events as far as is known: then its heartbeat is as
    /// old as that of its thread.
    pub(crate) fn awaited_since(&self) -> Option<Duration> {
        self.requested()?;
        let since = self.awaited.load(Ordering::Relaxed);
        (since != 0).then(|| Duration::from_micros(since))
    }

    fn requested(&self) -> Option<Duration> {
        let at = self.requested.load(Ordering::Acquire);
        (at != 0).then(|| Duration::from_micros(at))
    }

    /// Sets [`Self::awaited_since`] unless it is set.
    fn await_since(&self, now: impl FnOnce() -> Duration) {
        if self.awaited.load(Ordering::Relaxed) == 0 {
            let _ = self.awaited.compare_exchange(0, micros(now()), Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// Never 0, which means that there is no request.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(5);

    /// A check, and the poll of an actor that is woken by it. Returns whether it was.
    fn woken_by_check(heartbeat: &ActorHeartbeat, now: Duration) -> bool {
        let woken = heartbeat.request(now, PERIOD);
        if woken {
            heartbeat.polled();
            heartbeat.answer();
        }
        woken
    }

    #[test]
    fn an_actor_without_polls_is_woken_once_in_a_period() {
        let (heartbeat, start) = (ActorHeartbeat::new(), monotonic::now());
        assert!(heartbeat.requested().is_some(), "the start is an open request");
        heartbeat.polled();
        heartbeat.answer();
        let woken = (0..40).filter(|tenth| woken_by_check(&heartbeat, start + PERIOD * *tenth / 10));
        // What the first poll left is not known; each wake comes a quarter of a period after its request.
        assert_eq!(woken.collect::<Vec<_>>(), [3, 13, 23, 33]);
    }

    #[test]
    fn an_actor_that_runs_between_the_checks_is_asked_at_each_and_never_woken() {
        let (heartbeat, start) = (ActorHeartbeat::new(), monotonic::now());
        for tenth in 0..40 {
            heartbeat.polled();
            heartbeat.answer();
            assert!(heartbeat.requested().is_none());
            assert!(!heartbeat.request(start + PERIOD * tenth / 10, PERIOD));
            assert!(heartbeat.requested().is_some());
        }
    }

    #[test]
    fn an_unanswered_request_wakes_the_actor_once_and_is_awaited_from_then_on() {
        let (heartbeat, start) = (ActorHeartbeat::new(), monotonic::now());
        heartbeat.answer();
        assert!(!heartbeat.request(start, PERIOD));
        assert_eq!(heartbeat.awaited_since(), None, "it may wait for events");
        let late = start + PERIOD / 2;
        let woken = (1..=20).map(|tenth| start + PERIOD * tenth / 10).filter(|now| heartbeat.request(*now, PERIOD));
        assert_eq!(woken.collect::<Vec<_>>(), [start + PERIOD * 3 / 10]);
        assert!(heartbeat.awaited_since().is_some_and(|since| since > start && since < late));
    }

    #[test]
    fn a_poll_without_an_answer_is_awaited_from_its_own_time_on() {
        let (heartbeat, start) = (ActorHeartbeat::new(), monotonic::now());
        heartbeat.answer();
        // The request is older than the poll in which the actor begins to wait.
        assert!(!heartbeat.request(start.saturating_sub(PERIOD), PERIOD));
        heartbeat.polled();
        assert!(heartbeat.awaited_since().is_some_and(|since| since >= start));
    }

    #[test]
    fn an_answer_beside_the_wake_leaves_nothing_to_the_next_request() {
        let (heartbeat, start) = (ActorHeartbeat::new(), monotonic::now());
        heartbeat.answer();
        assert!(!heartbeat.request(start, PERIOD));
        // The check has found the request late when the actor answers it.
        heartbeat.answer();
        heartbeat.await_since(|| start);
        heartbeat.woken.store(true, Ordering::Relaxed);
        assert!(!heartbeat.request(start + PERIOD, PERIOD));
        assert_eq!(heartbeat.awaited_since(), None);
        assert!(heartbeat.request(start + PERIOD * 2, PERIOD), "an actor that does not run by itself is woken");
    }
}
