//! Limits the clients that watch the status, and decides when each gets a message. Pure: the time is an argument.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::admission::{AdmissionSlot, EvictionSignal, Rank, SlotPool};

/// Clients on this machine that may watch at once.
const MAX_LOOPBACK: usize = 256;
/// Clients with a token that may watch at once, however many there are on this machine.
const MAX_AUTHENTICATED: usize = 64;
/// A client without a message for this long is gone.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Interval of pings to a silent client; below the minute after which proxies close a connection.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Pings of a client that are answered between two checks: each answer waits in memory until the client takes it.
const MAX_PINGS: u32 = 16;

/// Slots for clients that watch, by how they are authenticated.
#[derive(Debug, Clone)]
pub(super) struct Viewers {
    loopback: Arc<Semaphore>,
    authenticated: Arc<Semaphore>,
    /// For clients that have not sent their token.
    unauthenticated: SlotPool,
}

/// A slot of a client; dropping it frees it.
pub(super) enum ViewerSlot {
    /// The client is authenticated; the slot is not evicted.
    Held { _slot: OwnedSemaphorePermit },
    /// The client has not sent its token; the slot may be evicted.
    Unauthenticated { _slot: AdmissionSlot },
}

impl Viewers {
    pub(super) fn new(unauthenticated: SlotPool) -> Self {
        let slots = |most| Arc::new(Semaphore::new(most));
        Self { loopback: slots(MAX_LOOPBACK), authenticated: slots(MAX_AUTHENTICATED), unauthenticated }
    }

    /// A slot for a client on this machine, if one is free.
    pub(super) fn loopback(&self) -> Option<ViewerSlot> {
        acquire(&self.loopback)
    }

    /// A slot for a client with a valid token, if one is free.
    pub(super) fn authenticated(&self) -> Option<ViewerSlot> {
        acquire(&self.authenticated)
    }

    /// A slot for a client that has not sent its token; it is lost when `eviction` fires.
    pub(super) fn unauthenticated(&self, peer: IpAddr, eviction: &Arc<EvictionSignal>) -> ViewerSlot {
        ViewerSlot::Unauthenticated { _slot: self.unauthenticated.enter(peer, Rank::Waiting, eviction) }
    }

    /// How many slots are taken.
    pub(super) fn watching(&self) -> usize {
        let taken = |slots: &Semaphore, most: usize| most - slots.available_permits().min(most);
        taken(&self.loopback, MAX_LOOPBACK)
            + taken(&self.authenticated, MAX_AUTHENTICATED)
            + self.unauthenticated.taken()
    }
}

fn acquire(slots: &Arc<Semaphore>) -> Option<ViewerSlot> {
    Some(ViewerSlot::Held { _slot: Arc::clone(slots).try_acquire_owned().ok()? })
}

/// Flow control of one client: each status is followed by a ping, and the next waits for the pong. So a slow client gets fewer and
/// newer ones, and nothing is queued for it.
#[derive(Debug)]
pub(super) struct FlowControl {
    /// Since when a pong is awaited.
    ping_sent: Option<Instant>,
    /// The time of the last pong.
    last_seen: Instant,
    /// Whether the status changed after the last one sent.
    unsent: bool,
    /// Pings from the client since the last check.
    pings: u32,
}

/// The result of a regular check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Ping,
    /// The client is gone.
    Disconnect,
}

impl FlowControl {
    pub(super) fn new(now: Instant) -> Self {
        Self { ping_sent: None, last_seen: now, unsent: false, pings: 0 }
    }

    /// The status changed: whether to send it now.
    pub(super) fn changed(&mut self, now: Instant) -> bool {
        self.unsent = true;
        self.next(now)
    }

    /// The client has read the last message: whether to send the status again.
    pub(super) fn pong(&mut self, now: Instant) -> bool {
        self.ping_sent = None;
        self.last_seen = now;
        self.next(now)
    }

    /// The client sent a ping: whether to answer. A client that sends too many is closed.
    pub(super) fn pinged(&mut self) -> bool {
        self.pings = self.pings.saturating_add(1);
        self.pings <= MAX_PINGS
    }

    pub(super) fn check(&mut self, now: Instant) -> Due {
        self.pings = 0;
        match self.ping_sent {
            Some(since) if now.saturating_duration_since(since) >= TIMEOUT => Due::Disconnect,
            None if now.saturating_duration_since(self.last_seen) >= PING_INTERVAL => {
                self.ping_sent = Some(now);
                Due::Ping
            }
            _ => Due::Nothing,
        }
    }

    fn next(&mut self, now: Instant) -> bool {
        let send = self.unsent && self.ping_sent.is_none();
        if send {
            self.unsent = false;
            self.ping_sent = Some(now);
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
        let mut flow = FlowControl::new(now);
        assert!(flow.changed(now));
        assert!(!flow.changed(now));
        assert!(!flow.changed(now));
        assert!(flow.pong(now), "what changed meanwhile is sent once");
        assert!(!flow.pong(now));
        assert!(flow.changed(now));
    }

    #[test]
    fn a_client_that_does_not_answer_is_disconnected() {
        let now = Instant::now();
        let mut flow = FlowControl::new(now);
        assert_eq!(flow.check(now), Due::Nothing);
        assert_eq!(flow.check(now + PING_INTERVAL), Due::Ping);
        assert_eq!(flow.check(now + PING_INTERVAL + Duration::from_secs(1)), Due::Nothing);
        assert_eq!(flow.check(now + PING_INTERVAL + TIMEOUT), Due::Disconnect);
    }

    #[test]
    fn a_client_that_sends_too_many_pings_gets_no_more_answers() {
        let now = Instant::now();
        let mut flow = FlowControl::new(now);
        assert_eq!((0..100).filter(|_| flow.pinged()).count(), 16);
        flow.check(now);
        assert!(flow.pinged());
    }

    #[test]
    fn the_number_of_viewers_is_limited_for_each_kind_of_client() {
        let viewers = Viewers::new(Admission::default().sockets);
        let loopback: Vec<_> = std::iter::from_fn(|| viewers.loopback()).collect();
        let eviction = Arc::new(EvictionSignal::default());
        let unauthenticated: Vec<_> =
            (0..1_000).map(|_| viewers.unauthenticated([10, 0, 0, 1].into(), &eviction)).collect();
        assert_eq!((loopback.len(), viewers.watching()), (MAX_LOOPBACK, MAX_LOOPBACK + 64));
        let authenticated: Vec<_> = std::iter::from_fn(|| viewers.authenticated()).collect();
        assert_eq!(authenticated.len(), MAX_AUTHENTICATED);
        drop((loopback, unauthenticated, authenticated));
        assert_eq!(viewers.watching(), 0);
        assert!(viewers.loopback().is_some());
    }
}
