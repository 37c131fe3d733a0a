//! Whether an actor runs, without a timer of its own.
//!
//! The heartbeat check requests a beat, and the actor answers when its context is polled. An actor that was not polled since its last
//! answer cannot have begun to hang, so it is asked rarely, and an idle actor costs almost nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::monotonic;

/// The heartbeat of one incarnation.
#[derive(Debug)]
pub(crate) struct ActorHeartbeat {
    /// When the request was made that is not answered yet, in microseconds on the clock of [`monotonic::now`]; 0 without one.
    requested: AtomicU64,
    /// When the last request was made.
    last_request: AtomicU64,
    /// The actor was polled since its last answer.
    polled: AtomicBool,
}

impl ActorHeartbeat {
    /// The heartbeat of an actor that is about to start; its first poll is requested.
    pub(crate) fn new() -> Self {
        let now = micros(monotonic::now());
        Self { requested: AtomicU64::new(now), last_request: AtomicU64::new(now), polled: AtomicBool::new(true) }
    }

    /// The runner polls the actor. A poll that answers a request does not count.
    pub(crate) fn polled(&self) {
        if self.requested().is_none() && !self.polled.load(Ordering::Relaxed) {
            self.polled.store(true, Ordering::Relaxed);
        }
    }

    /// The actor does not wait and handles messages.
    pub(crate) fn answer(&self) {
        if self.requested.load(Ordering::Relaxed) != 0 {
            self.requested.store(0, Ordering::Release);
        }
    }

    /// Requests a beat if the actor was polled since its last answer, or was not asked for `at_least_every`. Returns whether the
    /// actor has to be woken.
    pub(crate) fn request(&self, now: Duration, at_least_every: Duration) -> bool {
        let last = Duration::from_micros(self.last_request.load(Ordering::Relaxed));
        // The period is for a wait that begins in the poll that answers: no later poll would show it.
        if self.requested().is_some()
            || !(self.polled.load(Ordering::Relaxed) || now.saturating_sub(last) >= at_least_every)
        {
            return false;
        }
        self.polled.store(false, Ordering::Relaxed);
        self.last_request.store(micros(now), Ordering::Relaxed);
        self.requested.store(micros(now), Ordering::Release);
        true
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

    #[test]
    fn an_actor_without_polls_is_asked_once_in_a_period() {
        let (heartbeat, start) = (ActorHeartbeat::new(), monotonic::now());
        assert!(heartbeat.requested().is_some(), "the start is an open request");
        heartbeat.answer();
        assert!(heartbeat.request(start, PERIOD), "what the first poll left is not known");
        heartbeat.polled();
        heartbeat.answer();
        let tenths = (1..=40).map(|tenth| start + PERIOD * tenth / 10);
        let asked = tenths.filter(|now| {
            let asked = heartbeat.request(*now, PERIOD);
            if asked {
                heartbeat.polled();
                heartbeat.answer();
            }
            asked
        });
        assert_eq!(asked.count(), 4);
    }

    #[test]
    fn a_polled_actor_is_asked_at_the_next_check_and_an_unanswered_request_keeps_its_time() {
        let (heartbeat, start) = (ActorHeartbeat::new(), monotonic::now());
        heartbeat.answer();
        assert!(heartbeat.request(start, PERIOD));
        heartbeat.answer();
        assert!(!heartbeat.request(start, PERIOD));
        heartbeat.polled();
        assert!(heartbeat.request(start + PERIOD / 10, PERIOD));
        let asked = heartbeat.requested();
        assert!(!heartbeat.request(start + 2 * PERIOD, PERIOD));
        assert!(asked.is_some() && heartbeat.requested() == asked);
    }
}
