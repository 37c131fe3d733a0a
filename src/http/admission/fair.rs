//! A bounded number of slots, shared between peers. Pure.
//!
//! A new entry always gets a slot. When all are taken, one is evicted: of the peer with the most slots, the slot with the lowest
//! rank, and of these the oldest. So a peer that takes many slots evicts its own, and of many peers with one slot each the oldest
//! is evicted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::peers::PeerNetwork;

/// What a slot is used for; the lower rank is evicted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::http) enum Rank {
    /// The peer has not sent anything yet.
    Waiting,
    /// The gateway works on what the peer sent.
    Working,
}

/// Identifies a slot while it is taken.
pub(super) type SlotId = u64;

/// The order of a slot among those of its peer: the lowest is evicted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SlotOrder {
    rank: Rank,
    /// When it got this rank, as an increasing number.
    since: u64,
}

/// The slots and their holders. Each call costs the logarithm of their number.
#[derive(Debug)]
pub(super) struct FairSlots {
    capacity: usize,
    next: u64,
    slots: HashMap<SlotId, (PeerNetwork, SlotOrder)>,
    peers: HashMap<PeerNetwork, BTreeMap<SlotOrder, SlotId>>,
    /// Every peer by the number of its slots; of equals the one whose first slot is the lowest comes last.
    weights: BTreeSet<(usize, Reverse<SlotOrder>, PeerNetwork)>,
}

impl FairSlots {
    /// `capacity` slots, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self { capacity, next: 0, slots: HashMap::new(), peers: HashMap::new(), weights: BTreeSet::new() }
    }

    /// Takes a slot for `peer`; the second is the slot that was evicted for it.
    pub(super) fn enter(&mut self, peer: PeerNetwork, rank: Rank) -> (SlotId, Option<SlotId>) {
        let evicted = if self.slots.len() >= self.capacity { self.victim(peer) } else { None };
        if let Some(evicted) = evicted {
            self.leave(evicted);
        }
        let order = self.order(rank);
        let slot = order.since;
        self.insert(slot, peer, order);
        (slot, evicted)
    }

    /// Frees a slot; without effect for an evicted one.
    pub(super) fn leave(&mut self, slot: SlotId) {
        let Some((peer, order)) = self.slots.remove(&slot) else { return };
        self.change(peer, |slots| {
            slots.remove(&order);
        });
    }

    /// Sets what a slot is used for from now on.
    pub(super) fn set_rank(&mut self, slot: SlotId, rank: Rank) {
        if let Some((peer, _)) = self.slots.get(&slot) {
            let peer = *peer;
            self.leave(slot);
            let order = self.order(rank);
            self.insert(slot, peer, order);
        }
    }

    /// Slots taken.
    pub(super) fn taken(&self) -> usize {
        self.slots.len()
    }

    /// The slot that is evicted if `peer` takes one more.
    fn victim(&self, peer: PeerNetwork) -> Option<SlotId> {
        let (most, _, heaviest) = self.weights.last()?;
        let own = self.peers.get(&peer).map_or(0, BTreeMap::len);
        let loser = if own >= *most { &peer } else { heaviest };
        self.peers.get(loser)?.first_key_value().map(|(_, slot)| *slot)
    }

    fn order(&mut self, rank: Rank) -> SlotOrder {
        self.next += 1;
        SlotOrder { rank, since: self.next }
    }

    fn insert(&mut self, slot: SlotId, peer: PeerNetwork, order: SlotOrder) {
        self.slots.insert(slot, (peer, order));
        self.change(peer, |slots| {
            slots.insert(order, slot);
        });
    }

    /// Changes the slots of one peer and updates the weights.
    fn change(&mut self, peer: PeerNetwork, change: impl FnOnce(&mut BTreeMap<SlotOrder, SlotId>)) {
        let weight = |slots: &BTreeMap<SlotOrder, SlotId>| {
            slots.first_key_value().map(|(first, _)| (slots.len(), Reverse(*first), peer))
        };
        let slots = self.peers.entry(peer).or_default();
        if let Some(before) = weight(slots) {
            self.weights.remove(&before);
        }
        change(slots);
        match weight(slots) {
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

    fn enter(slots: &mut FairSlots, n: u8) -> SlotId {
        let (slot, evicted) = slots.enter(peer(n), Rank::Waiting);
        assert_eq!(evicted, None);
        slot
    }

    #[test]
    fn no_slot_is_evicted_while_one_is_free() {
        let mut slots = FairSlots::new(100);
        for _ in 0..100 {
            enter(&mut slots, 1);
        }
        assert_eq!(slots.taken(), 100);
    }

    #[test]
    fn the_oldest_slot_of_the_peer_with_most_slots_is_evicted() {
        let mut slots = FairSlots::new(4);
        let single = enter(&mut slots, 1);
        let first = enter(&mut slots, 2);
        let second = enter(&mut slots, 2);
        enter(&mut slots, 2);
        assert_eq!(slots.enter(peer(3), Rank::Waiting).1, Some(first));
        assert_eq!(slots.enter(peer(2), Rank::Waiting).1, Some(second), "a peer with many slots evicts its own");
        assert!(slots.slots.contains_key(&single));
    }

    #[test]
    fn of_peers_with_one_slot_each_the_oldest_is_evicted_and_not_the_new_one() {
        let mut slots = FairSlots::new(3);
        let held: Vec<_> = (1..=3).map(|n| enter(&mut slots, n)).collect();
        let (newest, evicted) = slots.enter(peer(9), Rank::Waiting);
        assert_eq!(evicted, Some(held[0]));
        assert!(slots.slots.contains_key(&newest));
    }

    #[test]
    fn a_waiting_slot_is_evicted_before_a_working_one() {
        let mut slots = FairSlots::new(2);
        let working = enter(&mut slots, 1);
        let waiting = enter(&mut slots, 1);
        slots.set_rank(working, Rank::Working);
        let (third, evicted) = slots.enter(peer(2), Rank::Waiting);
        assert_eq!(evicted, Some(waiting));
        assert_eq!(slots.enter(peer(3), Rank::Waiting).1, Some(third), "of equals the one that waits");
        assert!(slots.slots.contains_key(&working));
        let mut busy = FairSlots::new(1);
        let only = enter(&mut busy, 1);
        busy.set_rank(only, Rank::Working);
        assert_eq!(
            busy.enter(peer(2), Rank::Waiting).1,
            Some(only),
            "a new entry gets a slot although all are working"
        );
    }

    #[test]
    fn a_freed_slot_leaves_no_entry() {
        let mut slots = FairSlots::new(3);
        let all: Vec<_> = (1..=3).map(|n| enter(&mut slots, n)).collect();
        slots.set_rank(all[1], Rank::Working);
        for slot in all {
            slots.leave(slot);
            slots.leave(slot);
            slots.set_rank(slot, Rank::Working);
        }
        assert_eq!((slots.taken(), slots.peers.len(), slots.weights.len()), (0, 0, 0));
    }

    #[test]
    fn a_peer_keeps_its_share_while_another_requests_many_slots() {
        let mut slots = FairSlots::new(16);
        let modest: Vec<_> = (0..4).map(|_| enter(&mut slots, 1)).collect();
        for _ in 0..10_000 {
            slots.enter(peer(2), Rank::Waiting);
        }
        assert!(modest.iter().all(|slot| slots.slots.contains_key(slot)));
        assert_eq!(slots.taken(), 16);
    }
}
