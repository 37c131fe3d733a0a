//! How many clients watch, and when one of them is sent something. Pure: the time comes in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Clients that may watch at once.
const MOST: usize = 256;
/// A client that is not heard of for this long is gone.
const PATIENCE: Duration = Duration::from_secs(15);
/// A silent client is asked whether it is there this often; below the minute after which proxies cut a connection.
const EVERY: Duration = Duration::from_secs(20);
/// Pings of a client that are answered between two looks: each answer waits in memory until the client takes it.
const MOST_PINGS: u32 = 16;

/// Places for those who watch.
#[derive(Debug, Clone)]
pub(super) struct Viewers(Arc<Semaphore>);

impl Default for Viewers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Viewers {
    /// A place, if one is free; dropping it frees it.
    pub(super) fn enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }

    /// How many places are taken.
    pub(super) fn watching(&self) -> usize {
        MOST - self.0.available_permits().min(MOST)
    }
}

/// One client's pace: each status is followed by a ping, and the next waits for the pong. So a slow client gets fewer and newer
/// ones, and nothing piles up for it.
#[derive(Debug)]
pub(super) struct Pace {
    /// Since when a pong is awaited.
    asked: Option<Instant>,
    /// When the last pong came.
    heard: Instant,
    /// Whether there is something newer than what was sent.
    behind: bool,
    /// Pings of its own since the last look.
    pings: u32,
}

/// What is due at a regular look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Ping,
    /// The client is gone.
    Leave,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { asked: None, heard: now, behind: false, pings: 0 }
    }

    /// The status changed: whether to send it now.
    pub(super) fn changed(&mut self, now: Instant) -> bool {
        self.behind = true;
        self.next(now)
    }

    /// The client has taken in what it was sent: whether to send the status again.
    pub(super) fn pong(&mut self, now: Instant) -> bool {
        self.asked = None;
        self.heard = now;
        self.next(now)
    }

    /// The client asks whether we are there: whether to answer. One that asks for ever is not worth it.
    pub(super) fn pinged(&mut self) -> bool {
        self.pings = self.pings.saturating_add(1);
        self.pings <= MOST_PINGS
    }

    pub(super) fn look(&mut self, now: Instant) -> Due {
        self.pings = 0;
        match self.asked {
            Some(since) if now.saturating_duration_since(since) >= PATIENCE => Due::Leave,
            None if now.saturating_duration_since(self.heard) >= EVERY => {
                self.asked = Some(now);
                Due::Ping
            }
            _ => Due::Nothing,
        }
    }

    fn next(&mut self, now: Instant) -> bool {
        let send = self.behind && self.asked.is_none();
        if send {
            self.behind = false;
            self.asked = Some(now);
        }
        send
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_client_gets_the_newest_status_and_never_two_at_once() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert!(pace.changed(now));
        assert!(!pace.changed(now));
        assert!(!pace.changed(now));
        assert!(pace.pong(now), "what changed meanwhile is sent once");
        assert!(!pace.pong(now));
        assert!(pace.changed(now));
    }

    #[test]
    fn a_client_that_does_not_answer_is_let_go() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!(pace.look(now), Due::Nothing);
        assert_eq!(pace.look(now + EVERY), Due::Ping);
        assert_eq!(pace.look(now + EVERY + Duration::from_secs(1)), Due::Nothing);
        assert_eq!(pace.look(now + EVERY + PATIENCE), Due::Leave);
    }

    #[test]
    fn a_client_that_asks_without_end_is_not_answered_without_end() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!((0..100).filter(|_| pace.pinged()).count(), 16);
        pace.look(now);
        assert!(pace.pinged());
    }

    #[test]
    fn only_so_many_watch() {
        let viewers = Viewers::default();
        let places: Vec<_> = std::iter::from_fn(|| viewers.enter()).collect();
        assert_eq!((places.len(), viewers.watching()), (MOST, MOST));
        drop(places);
        assert_eq!(viewers.watching(), 0);
        assert!(viewers.enter().is_some());
    }
}
