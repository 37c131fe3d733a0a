//! Limits the clients that watch, and decides when each is sent something. Pure: the time comes in.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::admission::{AdmissionSlot, CutSignal, Rank, SlotPool};

/// Clients on this machine that may watch at once.
const MOST_LOOPBACK: usize = 256;
/// Clients with a token that may watch at once, however many there are on this machine.
const MOST_PROVEN: usize = 64;
/// A client without a message for this long is gone.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Interval of pings to a silent client; below the minute after which proxies cut a connection.
const EVERY: Duration = Duration::from_secs(20);
/// Pings of a client that are answered between two looks: each answer waits in memory until the client takes it.
const MOST_PINGS: u32 = 16;

/// Places for clients that watch, by how they are authenticated.
#[derive(Debug, Clone)]
pub(super) struct Viewers {
    loopback: Arc<Semaphore>,
    proven: Arc<Semaphore>,
    /// For clients whose token is awaited.
    awaited: SlotPool,
}

/// A place of a client; dropping it frees it.
pub(super) enum ViewerPlace {
    /// It may stay.
    Kept { _place: OwnedSemaphorePermit },
    /// Its token is awaited; others may take the place.
    Awaited { _place: AdmissionSlot },
}

impl Viewers {
    pub(super) fn new(awaited: SlotPool) -> Self {
        let places = |most| Arc::new(Semaphore::new(most));
        Self { loopback: places(MOST_LOOPBACK), proven: places(MOST_PROVEN), awaited }
    }

    /// A place for a client on this machine, if one is free.
    pub(super) fn loopback(&self) -> Option<ViewerPlace> {
        kept(&self.loopback)
    }

    /// A place for a client with a good token, if one is free.
    pub(super) fn proven(&self) -> Option<ViewerPlace> {
        kept(&self.proven)
    }

    /// A place for a client whose token is awaited; when `cut` fires another has it.
    pub(super) fn awaited(&self, peer: IpAddr, cut: &Arc<CutSignal>) -> ViewerPlace {
        ViewerPlace::Awaited { _place: self.awaited.enter(peer, Rank::Waiting, cut) }
    }

    /// How many places are taken.
    pub(super) fn watching(&self) -> usize {
        let taken = |places: &Semaphore, most: usize| most - places.available_permits().min(most);
        taken(&self.loopback, MOST_LOOPBACK) + taken(&self.proven, MOST_PROVEN) + self.awaited.taken()
    }
}

fn kept(places: &Arc<Semaphore>) -> Option<ViewerPlace> {
    Some(ViewerPlace::Kept { _place: Arc::clone(places).try_acquire_owned().ok()? })
}

/// One client's pace: each status is followed by a ping, and the next waits for the pong. So a slow client gets fewer and newer
/// ones, and nothing piles up for it.
#[derive(Debug)]
pub(super) struct Pace {
    /// Since when a pong is awaited.
    asked: Option<Instant>,
    /// When the last pong came.
    last_seen: Instant,
    /// Whether the status changed after the last one sent.
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
        Self { asked: None, last_seen: now, behind: false, pings: 0 }
    }

    /// The status changed: whether to send it now.
    pub(super) fn changed(&mut self, now: Instant) -> bool {
        self.behind = true;
        self.next(now)
    }

    /// The client has read what it was sent: whether to send the status again.
    pub(super) fn pong(&mut self, now: Instant) -> bool {
        self.asked = None;
        self.last_seen = now;
        self.next(now)
    }

    /// The client sent a ping: whether to answer. A client that sends too many is closed.
    pub(super) fn pinged(&mut self) -> bool {
        self.pings = self.pings.saturating_add(1);
        self.pings <= MOST_PINGS
    }

    pub(super) fn look(&mut self, now: Instant) -> Due {
        self.pings = 0;
        match self.asked {
            Some(since) if now.saturating_duration_since(since) >= TIMEOUT => Due::Leave,
            None if now.saturating_duration_since(self.last_seen) >= EVERY => {
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
    use crate::http::admission::Admission;

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
        assert_eq!(pace.look(now + EVERY + TIMEOUT), Due::Leave);
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
    fn only_so_many_watch_and_none_takes_the_place_of_a_better_known_one() {
        let viewers = Viewers::new(Admission::default().sockets);
        let loopback: Vec<_> = std::iter::from_fn(|| viewers.loopback()).collect();
        let cut = Arc::new(CutSignal::default());
        let awaited: Vec<_> = (0..1_000).map(|_| viewers.awaited([10, 0, 0, 1].into(), &cut)).collect();
        assert_eq!((loopback.len(), viewers.watching()), (MOST_LOOPBACK, MOST_LOOPBACK + 64));
        let proven: Vec<_> = std::iter::from_fn(|| viewers.proven()).collect();
        assert_eq!(proven.len(), MOST_PROVEN);
        drop((loopback, awaited, proven));
        assert_eq!(viewers.watching(), 0);
        assert!(viewers.loopback().is_some());
    }
}
