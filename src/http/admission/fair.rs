//! A bounded number of places, shared between peers. Pure.
//!
//! A newcomer always gets a place. When all are taken, the peer that holds most gives one up: of its places the one that has
//! waited longest, and one that only waits before one with work in progress. So a peer that takes many places pushes out its own, and
//! many peers with one place each push out the oldest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::peers::PeerNetwork;

/// What a place is used for; the lesser is given up first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::http) enum Rank {
    /// The peer has not sent anything yet.
    Waiting,
    /// The gateway works on what the peer sent.
    Working,
}

/// Names a place for as long as it is taken.
pub(super) type PlaceId = u64;

/// Where a place stands among those of its peer: the least goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Seat {
    rank: Rank,
    /// When it got this rank, as a number that only grows.
    since: u64,
}

/// The places and who holds them. Each call costs the logarithm of their number.
#[derive(Debug)]
pub(super) struct FairPlaces {
    capacity: usize,
    next: u64,
    places: HashMap<PlaceId, (PeerNetwork, Seat)>,
    peers: HashMap<PeerNetwork, BTreeMap<Seat, PlaceId>>,
    /// Every peer by the number of its places; of equals the one whose first place is the least comes last.
    weights: BTreeSet<(usize, Reverse<Seat>, PeerNetwork)>,
}

impl FairPlaces {
    /// `capacity` places, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self { capacity, next: 0, places: HashMap::new(), peers: HashMap::new(), weights: BTreeSet::new() }
    }

    /// Takes a place for `peer`; the second is the place that had to be given up for it.
    pub(super) fn enter(&mut self, peer: PeerNetwork, rank: Rank) -> (PlaceId, Option<PlaceId>) {
        let evicted = if self.places.len() >= self.capacity { self.victim(peer) } else { None };
        if let Some(evicted) = evicted {
            self.leave(evicted);
        }
        let seat = self.seat(rank);
        let place = seat.since;
        self.insert(place, peer, seat);
        (place, evicted)
    }

    /// Gives a place back; one that was evicted is gone already.
    pub(super) fn leave(&mut self, place: PlaceId) {
        let Some((peer, seat)) = self.places.remove(&place) else { return };
        self.change(peer, |seats| {
            seats.remove(&seat);
        });
    }

    /// Sets what a place is used for from now on.
    pub(super) fn set_rank(&mut self, place: PlaceId, rank: Rank) {
        if let Some((peer, _)) = self.places.get(&place) {
            let peer = *peer;
            self.leave(place);
            let seat = self.seat(rank);
            self.insert(place, peer, seat);
        }
    }

    /// Places taken.
    pub(super) fn taken(&self) -> usize {
        self.places.len()
    }

    /// Which place goes if `peer` takes one more.
    fn victim(&self, peer: PeerNetwork) -> Option<PlaceId> {
        let (most, _, heaviest) = self.weights.last()?;
        let own = self.peers.get(&peer).map_or(0, BTreeMap::len);
        let loser = if own >= *most { &peer } else { heaviest };
        self.peers.get(loser)?.first_key_value().map(|(_, place)| *place)
    }

    fn seat(&mut self, rank: Rank) -> Seat {
        self.next += 1;
        Seat { rank, since: self.next }
    }

    fn insert(&mut self, place: PlaceId, peer: PeerNetwork, seat: Seat) {
        self.places.insert(place, (peer, seat));
        self.change(peer, |seats| {
            seats.insert(seat, place);
        });
    }

    /// Changes the places of one peer and updates the weights.
    fn change(&mut self, peer: PeerNetwork, change: impl FnOnce(&mut BTreeMap<Seat, PlaceId>)) {
        let weight = |seats: &BTreeMap<Seat, PlaceId>| {
            seats.first_key_value().map(|(first, _)| (seats.len(), Reverse(*first), peer))
        };
        let seats = self.peers.entry(peer).or_default();
        if let Some(before) = weight(seats) {
            self.weights.remove(&before);
        }
        change(seats);
        match weight(seats) {
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
    fn no_peer_gives_up_a_place_while_one_is_free() {
        let mut places = FairPlaces::new(100);
        for _ in 0..100 {
            enter(&mut places, 1);
        }
        assert_eq!(places.taken(), 100);
    }

    #[test]
    fn the_peer_that_holds_most_gives_up_its_oldest() {
        let mut places = FairPlaces::new(4);
        let single = enter(&mut places, 1);
        let first = enter(&mut places, 2);
        let second = enter(&mut places, 2);
        enter(&mut places, 2);
        assert_eq!(places.enter(peer(3), Rank::Waiting).1, Some(first));
        assert_eq!(places.enter(peer(2), Rank::Waiting).1, Some(second), "one that asks for more pushes out its own");
        assert!(places.places.contains_key(&single));
    }

    #[test]
    fn of_peers_with_one_place_each_the_oldest_goes_and_never_the_newcomer() {
        let mut places = FairPlaces::new(3);
        let held: Vec<_> = (1..=3).map(|n| enter(&mut places, n)).collect();
        let (newcomer, evicted) = places.enter(peer(9), Rank::Waiting);
        assert_eq!(evicted, Some(held[0]));
        assert!(places.places.contains_key(&newcomer));
    }

    #[test]
    fn what_only_waits_goes_before_what_is_worked_on() {
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
        assert_eq!(busy.enter(peer(2), Rank::Waiting).1, Some(only), "a newcomer gets in all the same");
    }

    #[test]
    fn a_place_given_back_is_free_and_nothing_is_left_behind() {
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
    fn one_peer_keeps_its_share_however_many_places_another_asks_for() {
        let mut places = FairPlaces::new(16);
        let modest: Vec<_> = (0..4).map(|_| enter(&mut places, 1)).collect();
        for _ in 0..10_000 {
            places.enter(peer(2), Rank::Waiting);
        }
        assert!(modest.iter().all(|place| places.places.contains_key(place)));
        assert_eq!(places.taken(), 16);
    }
}
