//! Which addresses count as one peer, and which peers authenticated within the last hour. Pure: the time is an argument.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use caduceus_contract::profile_name::ProfileName;

/// How long an authentication counts: a connector that is silent for longer is unknown until its next delivery.
const KEPT_FOR: Duration = Duration::from_hours(1);
/// Peers kept. Only valid tokens and signatures add one, so only holders of a secret can fill it.
const MAX_PEERS: usize = 4_096;

/// One peer for all counting: an IPv4 address, or the /64 that one customer of an IPv6 provider has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::http) struct PeerNetwork(IpAddr);

impl From<IpAddr> for PeerNetwork {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// The owner of the delivery key that a peer signed with; `None` is the default profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct KeyOwner(pub(in crate::http) Option<ProfileName>);

/// The peers that sent a valid token or signature within the last hour. Lost on restart.
#[derive(Debug, Default)]
pub(super) struct KnownPeers {
    peers: HashMap<PeerNetwork, KnownPeer>,
    /// In order of their last authentication.
    order: BTreeMap<u64, PeerNetwork>,
    next: u64,
}

#[derive(Debug)]
struct KnownPeer {
    sequence: u64,
    at: Instant,
    signs_for: Option<KeyOwner>,
}

impl KnownPeers {
    /// Records an authentication. A peer that sends a token keeps the profile that it signed for.
    pub(super) fn note(&mut self, peer: PeerNetwork, signs_for: Option<KeyOwner>, now: Instant) {
        let before = self.peers.remove(&peer);
        if let Some(before) = &before {
            self.order.remove(&before.sequence);
        } else if self.peers.len() >= MAX_PEERS
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.peers.remove(&oldest);
        }
        let signs_for = signs_for.or_else(|| before.and_then(|before| before.signs_for));
        self.order.insert(self.next, peer);
        self.peers.insert(peer, KnownPeer { sequence: self.next, at: now, signs_for });
        self.next += 1;
    }

    /// Whether the peer authenticated within the last hour.
    pub(super) fn contains(&self, peer: PeerNetwork, now: Instant) -> bool {
        self.peers.get(&peer).is_some_and(|known| fresh(known, now))
    }

    /// The owner of the key that the peer signed with last.
    pub(super) fn signs_for(&self, peer: PeerNetwork, now: Instant) -> Option<KeyOwner> {
        self.peers.get(&peer).filter(|known| fresh(known, now)).and_then(|known| known.signs_for.clone())
    }
}

fn fresh(known: &KnownPeer, now: Instant) -> bool {
    now.saturating_duration_since(known.at) < KEPT_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> PeerNetwork {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_peer() {
        assert_eq!(peer("2001:db8:1:2::1"), peer("2001:db8:1:2:ffff::9"));
        assert_ne!(peer("2001:db8:1:2::1"), peer("2001:db8:1:3::1"));
        assert_ne!(peer("10.0.0.1"), peer("10.0.0.2"));
        assert_eq!(peer("::ffff:10.0.0.1"), peer("10.0.0.1"), "an IPv4 address written as IPv6 counts as what it is");
    }

    #[test]
    fn an_authentication_counts_for_an_hour_and_has_the_profile() {
        let (mut known, start) = (KnownPeers::default(), Instant::now());
        let work = KeyOwner(ProfileName::parse("work").ok());
        known.note(peer("10.0.0.1"), Some(work.clone()), start);
        known.note(peer("10.0.0.1"), None, start + Duration::from_secs(1));
        assert_eq!(known.signs_for(peer("10.0.0.1"), start), Some(work), "a token does not erase it");
        assert!(known.contains(peer("10.0.0.1"), start + KEPT_FOR));
        assert!(!known.contains(peer("10.0.0.1"), start + KEPT_FOR + Duration::from_secs(1)));
        assert!(!known.contains(peer("10.0.0.2"), start));
    }

    #[test]
    fn the_oldest_authentication_is_removed_at_the_limit() {
        let (mut known, now) = (KnownPeers::default(), Instant::now());
        let nth = |n: u32| PeerNetwork::from(IpAddr::from(n.to_be_bytes()));
        for n in 0..=u32::try_from(MAX_PEERS).unwrap() {
            known.note(nth(n), None, now);
            known.note(nth(1), None, now);
        }
        assert_eq!((known.peers.len(), known.order.len()), (MAX_PEERS, MAX_PEERS));
        assert!(!known.contains(nth(0), now) && known.contains(nth(1), now) && known.contains(nth(4_096), now));
    }
}
