//! Whether a thread's event loop runs, without a timer of its own.
//!
//! The heartbeat check requests a beat, and a task on the thread answers. A thread that waits for events cannot have begun to hang, so it
//! is asked rarely, and an idle thread wakes almost never.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::heartbeat::Heartbeat;

/// The heartbeat of one thread. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ThreadHeartbeat(Arc<ThreadBeats>);

#[derive(Debug, Default)]
struct ThreadBeats {
    last: Heartbeat,
    /// The event loop waits for events.
    waits: AtomicBool,
    /// When a beat was last requested, in microseconds on the clock of [`crate::monotonic::now`].
    requested_at: AtomicU64,
    /// That request is not answered yet.
    is_open: AtomicBool,
    requests: Notify,
}

impl ThreadHeartbeat {
    /// The event loop begins to wait for events.
    pub(crate) fn park(&self) {
        self.0.waits.store(true, Ordering::SeqCst);
    }

    /// The event loop runs again.
    pub(crate) fn unpark(&self) {
        // Before the flag: a check that finds it cleared finds this beat.
        self.0.last.beat();
        self.0.waits.store(false, Ordering::SeqCst);
    }

    /// Beats now and at every request, for as long as it is polled.
    pub(crate) async fn answer(self) {
        loop {
            self.0.last.beat();
            self.0.is_open.store(false, Ordering::SeqCst);
            self.0.requests.notified().await;
        }
    }

    /// Requests a beat. A thread that waits for events and has answered the last request beats without being woken, except once in
    /// `at_least_every`: a wait that no event ends would be found by that.
    pub(crate) fn request(&self, now: Duration, at_least_every: Duration) {
        let beats = &*self.0;
        let last = Duration::from_micros(beats.requested_at.load(Ordering::Relaxed));
        let is_due = now.saturating_sub(last) >= at_least_every;
        if beats.waits.load(Ordering::SeqCst) && !beats.is_open.load(Ordering::SeqCst) && !is_due {
            return beats.last.beat();
        }
        if !beats.is_open.swap(true, Ordering::SeqCst) {
            let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
            beats.requested_at.store(now, Ordering::Relaxed);
        }
        beats.requests.notify_one();
    }

    /// The last beat.
    pub(crate) fn last(&self) -> &Heartbeat {
        &self.0.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(5);

    fn is_asked(heartbeat: &ThreadHeartbeat) -> bool {
        heartbeat.0.is_open.load(Ordering::SeqCst)
    }

    fn answered(heartbeat: &ThreadHeartbeat) {
        heartbeat.0.is_open.store(false, Ordering::SeqCst);
    }

    #[test]
    fn a_thread_that_waits_for_events_is_asked_once_in_a_period_and_beats_at_every_check() {
        let (heartbeat, start) = (ThreadHeartbeat::default(), PERIOD);
        heartbeat.park();
        heartbeat.request(start, PERIOD);
        assert!(is_asked(&heartbeat), "the first check");
        answered(&heartbeat);
        for tenth in 1..10 {
            let before = heartbeat.last().last();
            std::thread::yield_now();
            heartbeat.request(start + PERIOD * tenth / 10, PERIOD);
            assert!(!is_asked(&heartbeat) && heartbeat.last().last() >= before);
        }
        heartbeat.request(start + PERIOD, PERIOD);
        assert!(is_asked(&heartbeat));
    }

    #[test]
    fn a_thread_that_runs_is_asked_at_every_check_and_one_that_does_not_answer_beats_no_more() {
        let heartbeat = ThreadHeartbeat::default();
        heartbeat.unpark();
        heartbeat.request(PERIOD, PERIOD);
        assert!(is_asked(&heartbeat));
        // No event ends its wait.
        heartbeat.park();
        let last = heartbeat.last().last();
        for second in 1..4 {
            heartbeat.request(PERIOD + Duration::from_secs(second), PERIOD);
        }
        assert!(is_asked(&heartbeat) && heartbeat.last().last() == last);
    }
}
