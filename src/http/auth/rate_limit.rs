//! Limits failures and wake requests by peer. Pure: the time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::http::admission::PeerNetwork;

/// Failures a peer may have in a window before it has to wait: room for typing errors.
const ALLOWED: u32 = 10;
/// Length of a window.
const WINDOW: Duration = Duration::from_mins(1);
/// Peers remembered; a scanner with more addresses gains nothing when the oldest is removed.
const MAX_PEERS: usize = 1_024;

/// Failures by peer. A restart resets them.
#[derive(Debug, Default)]
pub(in crate::http) struct PeerRateLimit(HashMap<PeerNetwork, Failures>);

#[derive(Debug, Clone, Copy)]
struct Failures {
    since: Instant,
    count: u32,
}

impl PeerRateLimit {
    /// Counts one more failure of `peer`; `Some` with the time left when it has had too many.
    pub(in crate::http) fn record(&mut self, peer: IpAddr, now: Instant) -> Option<Duration> {
        let peer = PeerNetwork::from(peer);
        self.make_room(&peer, now);
        let failures = self.0.entry(peer).or_insert(Failures { since: now, count: 0 });
        let age = now.saturating_duration_since(failures.since);
        if age >= WINDOW {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
        let left = WINDOW.saturating_sub(now.saturating_duration_since(failures.since));
        (failures.count > ALLOWED).then_some(left)
    }

    fn make_room(&mut self, peer: &PeerNetwork, now: Instant) {
        if self.0.len() < MAX_PEERS || self.0.contains_key(peer) {
            return;
        }
        self.0.retain(|_, failures| now.saturating_duration_since(failures.since) < WINDOW);
        if self.0.len() >= MAX_PEERS {
            let oldest = self.0.iter().min_by_key(|(_, failures)| failures.since).map(|(peer, _)| *peer);
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(limit: &mut PeerRateLimit, peer: &str, now: Instant, times: u32) -> Option<Duration> {
        (0..times).map(|_| limit.record(peer.parse().unwrap(), now)).last().flatten()
    }

    #[test]
    fn a_peer_has_to_wait_until_its_window_ends() {
        let (mut limit, start) = (PeerRateLimit::default(), Instant::now());
        assert_eq!(fail(&mut limit, "10.0.0.1", start, ALLOWED), None);
        assert_eq!(fail(&mut limit, "10.0.0.1", start + Duration::from_secs(20), 1), Some(Duration::from_secs(40)));
        assert_eq!(fail(&mut limit, "10.0.0.2", start, 1), None);
        assert_eq!(fail(&mut limit, "10.0.0.1", start + WINDOW, 1), None);
    }

    #[test]
    fn addresses_of_one_network_count_together() {
        let (mut limit, now) = (PeerRateLimit::default(), Instant::now());
        assert_eq!(fail(&mut limit, "2001:db8::1", now, ALLOWED), None);
        assert!(fail(&mut limit, "2001:db8::ffff", now, 1).is_some());
        assert_eq!(fail(&mut limit, "2001:db8:0:1::1", now, 1), None);
    }

    #[test]
    fn the_number_of_peers_is_bounded() {
        let (mut limit, now) = (PeerRateLimit::default(), Instant::now());
        for n in 0..5_000_u32 {
            limit.record(IpAddr::V4(n.into()), now);
        }
        assert!(limit.0.len() <= MAX_PEERS);
    }
}
