//! A bounded number of places, shared between peers. Pure.
//!
//! A new entry always gets a place. When all are taken, one is evicted: of the peer with the most places, the place with the lowest
//! rank, and of these the oldest. So a peer that takes many places evicts its own, and of many peers with one place each the oldest
//! is evicted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::peers::PeerNetwork;

/// What a place is used for; the lower rank is evicted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::http) enum Rank {
    /// The peer has not sent anything yet.
    Waiting,
    /// The gateway works on what the peer sent.
    Working,
}

/// Identifies a place while it is taken.
pub(super) type PlaceId = u64;

/// The order of a place among those of its peer: the lowest is evicted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PlaceOrder {
    rank: Rank,
    /// When it got this rank, as an increasing number.
    since: u64,
}

/// The places and their holders. Each call costs the logarithm of their number.
#[derive(Debug)]
pub(super) struct FairPlaces {
    capacity: usize,
    next: u64,
    places: HashMap<PlaceId, (PeerNetwork, PlaceOrder)>,
    peers: HashMap<PeerNetwork, BTreeMap<PlaceOrder, PlaceId>>,
    /// Every peer by the number of its places; of equals the one whose first place is the lowest comes last.
    weights: BTreeSet<(usize, Reverse<PlaceOrder>, PeerNetwork)>,
}

impl FairPlaces {
    /// `capacity` places, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self { capacity, next: 0, places: HashMap::new(), peers: HashMap::new(), weights: BTreeSet::new() }
    }

    /// Takes a place for `peer`; the second is the place that was evicted for it.
    pub(super) fn enter(&mut self, peer: PeerNetwork, rank: Rank) -> (PlaceId, Option<PlaceId>) {
        let evicted = if self.places.len() >= self.capacity { self.victim(peer) } else { None };
        if let Some(evicted) = evicted {
            self.leave(evicted);
        }
        let order = self.order(rank);
        let place = order.since;
        self.insert(place, peer, order);
        (place, evicted)
    }

    /// Frees a place; without effect for an evicted one.
    pub(super) fn leave(&mut self, place: PlaceId) {
        let Some((peer, order)) = self.places.remove(&place) else { return };
        self.change(peer, |places| {
            places.remove(&order);
        });
    }

    /// Sets what a place is used for from now on.
    pub(super) fn set_rank(&mut self, place: PlaceId, rank: Rank) {
        if let Some((peer, _)) = self.places.get(&place) {
            let peer = *peer;
            self.leave(place);
            let order = self.order(rank);
            self.insert(place, peer, order);
        }
    }

    /// Places taken.
    pub(super) fn taken(&self) -> usize {
        self.places.len()
    }

    /// The place that is evicted if `peer` takes one more.
    fn victim(&self, peer: PeerNetwork) -> Option<PlaceId> {
        let (most, _, heaviest) = self.weights.last()?;
        let own = self.peers.get(&peer).map_or(0, BTreeMap::len);
        let loser = if own >= *most { &peer } else { heaviest };
        self.peers.get(loser)?.first_key_value().map(|(_, place)| *place)
    }

    fn order(&mut self, rank: Rank) -> PlaceOrder {
        self.next += 1;
        PlaceOrder { rank, since: self.next }
    }

    fn insert(&mut self, place: PlaceId, peer: PeerNetwork, order: PlaceOrder) {
        self.places.insert(place, (peer, order));
        self.change(peer, |places| {
            places.insert(order, place);
        });
    }

    /// Changes the places of one peer and updates the weights.
    fn change(&mut self, peer: PeerNetwork, change: impl FnOnce(&mut BTreeMap<PlaceOrder, PlaceId>)) {
        let weight = |places: &BTreeMap<PlaceOrder, PlaceId>| {
            places.first_key_value().map(|(first, _)| (places.len(), Reverse(*first), peer))
        };
        let places = self.peers.entry(peer).or_default();
        if let Some(before) = weight(places) {
            self.weights.remove(&before);
        }
        change(places);
        match weight(places) {
            Some(after) => {
                self.weights.insert(after);
            }
            None => {
                self.peers.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn peer(n: u8) -> PeerNetwork {
        IpAddr::from([10, 0, 0, n]).into()
    }

    fn enter(places: &mut FairPlaces, n: u8) -> PlaceId {
        let (place, evicted) = places.enter(peer(n), Rank::Waiting);
        assert_eq!(evicted, None);
        place
    }

    #[test]
    fn no_slot_is_evicted_while_one_is_free() {
        let mut places = FairPlaces::new(100);
        for _ in 0..100 {
            enter(&mut places, 1);
        }
        assert_eq!(places.taken(), 100);
    }

    #[test]
    fn the_oldest_slot_of_the_peer_with_most_slots_is_evicted() {
        let mut places = FairPlaces::new(4);
        let single = enter(&mut places, 1);
        let first = enter(&mut places, 2);
        let second = enter(&mut places, 2);
        enter(&mut places, 2);
        assert_eq!(places.enter(peer(3), Rank::Waiting).1, Some(first));
        assert_eq!(places.enter(peer(2), Rank::Waiting).1, Some(second), "a peer with many places evicts its own");
        assert!(places.places.contains_key(&single));
    }

    #[test]
    fn of_peers_with_one_slot_each_the_oldest_is_evicted_and_not_the_new_one() {
        let mut places = FairPlaces::new(3);
        let held: Vec<_> = (1..=3).map(|n| enter(&mut places, n)).collect();
        let (newest, evicted) = places.enter(peer(9), Rank::Waiting);
        assert_eq!(evicted, Some(held[0]));
        assert!(places.places.contains_key(&newest));
    }

    #[test]
    fn a_waiting_slot_is_evicted_before_a_working_one() {
        let mut places = FairPlaces::new(2);
        let working = enter(&mut places, 1);
        let waiting = enter(&mut places, 1);
        places.set_rank(working, Rank::Working);
        let (third, evicted) = places.enter(peer(2), Rank::Waiting);
        assert_eq!(evicted, Some(waiting));
        assert_eq!(places.enter(peer(3), Rank::Waiting).1, Some(third), "of equals the one that waits");
        assert!(places.places.contains_key(&working));
        let mut busy = FairPlaces::new(1);
        let only = enter(&mut busy, 1);
        busy.set_rank(only, Rank::Working);
        assert_eq!(
            busy.enter(peer(2), Rank::Waiting).1,
            Some(only),
            "a new entry gets a place although all are working"
        );
    }

    #[test]
    fn a_freed_slot_leaves_no_entry() {
        let mut places = FairPlaces::new(3);
        let all: Vec<_> = (1..=3).map(|n| enter(&mut places, n)).collect();
        places.set_rank(all[1], Rank::Working);
        for place in all {
            places.leave(place);
            places.leave(place);
            places.set_rank(place, Rank::Working);
        }
        assert_eq!((places.taken(), places.peers.len(), places.weights.len()), (0, 0, 0));
    }

    #[test]
    fn a_peer_keeps_its_share_while_another_requests_many_slots() {
        let mut places = FairPlaces::new(16);
        let modest: Vec<_> = (0..4).map(|_| enter(&mut places, 1)).collect();
        for _ in 0..10_000 {
            places.enter(peer(2), Rank::Waiting);
        }
        assert!(modest.iter().all(|place| places.places.contains_key(place)));
        assert_eq!(places.taken(), 16);
    }
}
