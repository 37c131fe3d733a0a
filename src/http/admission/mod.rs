//! Limits on connections, bodies and sockets, shared fairly between peers.
//!
//! Peers that have sent a valid token or signature have separate slots; all others share a small number. A new connection always gets
//! a slot: the peer with the most slots loses one (`fair.rs`). Shared by all workers and by successive servers; a restart of
//! the process resets the known peers.

mod fair;
mod peers;
mod slot;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

pub(super) use fair::Rank;
use peers::KnownPeers;

use caduceus_actors::locked::locked;
pub(super) use peers::{KeyOwner, PeerNetwork};
pub(super) use slot::{AdmissionSlot, EvictionSignal, SlotPool};

/// Connections of each of the two kinds, where descriptors allow it.
const MAX_CONNECTIONS: usize = 1_024;
/// Fewest of each kind, however low the limit of descriptors is.
const MIN_CONNECTIONS: usize = 32;
/// One in this many descriptors may be the connection of an unknown peer, and one in this many that of a known peer.
const DESCRIPTORS_EACH: u64 = 4;
/// Bodies of unknown peers that are held at a time: 2 MiB each, before they are verified.
const UNKNOWN_BODIES: usize = 16;
/// Bodies of known peers that are held at a time.
const KNOWN_BODIES: usize = 32;
/// Sockets that have not sent their token yet.
const UNAUTHENTICATED_SOCKETS: usize = 64;

/// The slots, and the known peers. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    /// Connections.
    pub(super) connections: Shares,
    /// Bodies of signed deliveries that are received or verified.
    pub(super) bodies: Shares,
    /// Sockets of the status that have not sent their token.
    pub(super) sockets: SlotPool,
    peers: Arc<Mutex<KnownPeers>>,
}

/// Slots of one kind, separate for known peers and for all others.
#[derive(Debug, Clone)]
pub(super) struct Shares {
    pub(super) known: SlotPool,
    pub(super) unknown: SlotPool,
}

impl Default for Admission {
    fn default() -> Self {
        let connections = connections(rustix::process::getrlimit(rustix::process::Resource::Nofile).current);
        Self {
            connections: Shares {
                known: SlotPool::new("known_connections", connections),
                unknown: SlotPool::new("unknown_connections", connections),
            },
            bodies: Shares {
                known: SlotPool::new("known_bodies", KNOWN_BODIES),
                unknown: SlotPool::new("unknown_bodies", UNKNOWN_BODIES),
            },
            sockets: SlotPool::new("unauthenticated_sockets", UNAUTHENTICATED_SOCKETS),
            peers: Arc::default(),
        }
    }
}

impl Admission {
    /// Whether the peer sent a valid token or signature within the last hour.
    pub(super) fn is_known(&self, address: IpAddr) -> bool {
        self.peers().contains(address.into(), Instant::now())
    }

    /// The peer sent a valid token, or signed with this profile's key.
    pub(super) fn note(&self, address: IpAddr, signs_for: Option<KeyOwner>) {
        self.peers().note(address.into(), signs_for, Instant::now());
    }

    /// The owner of the delivery key that the peer signed with last.
    pub(super) fn signs_for(&self, address: IpAddr) -> Option<KeyOwner> {
        self.peers().signs_for(address.into(), Instant::now())
    }

    /// All pools, for the metrics.
    pub(super) fn pools(&self) -> [&SlotPool; 5] {
        let Self { connections, bodies, sockets, .. } = self;
        [&connections.known, &connections.unknown, &bodies.known, &bodies.unknown, sockets]
    }

    fn peers(&self) -> MutexGuard<'_, KnownPeers> {
        // Every critical section leaves the list valid, so a poisoned lock can be used.
        locked(&self.peers)
    }
}

impl Shares {
    pub(super) fn of(&self, known: bool) -> &SlotPool {
        if known { &self.known } else { &self.unknown }
    }
}

/// Connections of each kind under a limit of descriptors.
fn connections(limit: Option<u64>) -> usize {
    let share = limit.map_or(MAX_CONNECTIONS, |limit| usize::try_from(limit / DESCRIPTORS_EACH).unwrap_or(usize::MAX));
    share.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_half_of_the_descriptors_to_the_gateway() {
        for (limit, each) in [(Some(256), 64), (Some(1_024), 256), (Some(1 << 20), 1_024), (None, 1_024), (Some(0), 32)]
        {
            assert_eq!(connections(limit), each, "{limit:?}");
        }
    }
}
