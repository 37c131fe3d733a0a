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

/// The heartbeat of one incarnation.
#[derive(Debug)]
pub(crate) struct ActorHeartbeat {
    /// When the request was made that is not answered yet, in microseconds on the clock of [`monotonic::now`]; 0 without one.
    requested: AtomicU64,
    /// When the last request was made.
    last_request: AtomicU64,
    /// The actor was polled since its last answer, by itself or before the last request.
    polled: AtomicBool,
    /// The actor was started or woken for the request that is not answered yet.
    woken: AtomicBool,
}

impl ActorHeartbeat {
    /// The heartbeat of an actor that is about to start; its first poll is requested.
    pub(crate) fn new() -> Self {
        let now = micros(monotonic::now());
        Self {
            requested: AtomicU64::new(now),
            last_request: AtomicU64::new(now),
            polled: AtomicBool::new(true),
            woken: AtomicBool::new(true),
        }
    }

    /// The runner polls the actor. A poll for which the actor was woken does not count.
    pub(crate) fn polled(&self) {
        if !self.polled.load(Ordering::Relaxed) && !self.woken.load(Ordering::Relaxed) {
            self.polled.store(true, Ordering::Relaxed);
        }
    }

    /// The actor does not wait and handles messages.
    pub(crate) fn answer(&self) {
        if self.requested.load(Ordering::Relaxed) != 0 {
            self.woken.store(false, Ordering::Relaxed);
            self.requested.store(0, Ordering::Release);
        }
    }

    /// Requests a beat if the actor was polled since its last answer, or was not asked for `at_least_every`. Returns whether the
    /// actor has to be woken: it has not answered for a while, and was not woken for this request.
    pub(crate) fn request(&self, now: Duration, at_least_every: Duration) -> bool {
        if let Some(asked) = self.requested() {
            let is_late = now.saturating_sub(asked) >= at_least_every / WOKEN_AFTER;
            return is_late && !self.woken.swap(true, Ordering::Relaxed);
        }
        let last = Duration::from_micros(self.last_request.load(Ordering::Relaxed));
        // The period is for a wait that begins in the poll that answers: no later poll would show it.
        if self.polled.swap(false, Ordering::Relaxed) || now.saturating_sub(last) >= at_least_every {
            self.last_request.store(micros(now), Ordering::Relaxed);
            self.requested.store(micros(now), Ordering::Release);
        }
        false
    }

    /// When the request was made for which the actor was woken, and which is not answered yet. Without one the actor waits, and its
    /// heartbeat is as old as that of its thread.
    pub(crate) fn awaited_since(&self) -> Option<Duration> {
        self.requested().filter(|_| self.woken.load(Ordering::Relaxed))
    }

    /// When the request was made that is not answered yet.
    pub(crate) fn requested(&self) -> Option<Duration> {
        let at = self.requested.load(Ordering::Acquire);
        (at != 0).then(|| Duration::from_micros(at))
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
    fn an_unanswered_request_keeps_its_time_and_wakes_the_actor_once() {
        let (heartbeat, start) = (ActorHeartbeat::new(), monotonic::now());
        heartbeat.answer();
        assert!(!heartbeat.request(start, PERIOD));
        let asked = heartbeat.requested();
        assert!(asked.is_some());
        let woken = (1..=20).filter(|tenth| heartbeat.request(start + PERIOD * *tenth / 10, PERIOD));
        assert_eq!(woken.count(), 1);
        assert_eq!(heartbeat.requested(), asked);
    }
}
