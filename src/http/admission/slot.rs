//! Slots that are freed when dropped, and whose holders are notified of an eviction.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use caduceus_actors::locked::locked;
use tokio::sync::Notify;
use tracing::warn;

use super::fair::{FairSlots, Rank, SlotId};

/// How often evictions are logged: unknown peers cause them, so they must not fill the log.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// A bounded number of slots for one purpose, shared fairly between peers. Cheap to clone.
#[derive(Clone)]
pub(in crate::http) struct SlotPool(Arc<SlotPoolShared>);

struct SlotPoolShared {
    /// The purpose of the slots, in logs and metrics.
    name: &'static str,
    state: Mutex<SlotState>,
}

struct SlotState {
    slots: FairSlots,
    signals: HashMap<SlotId, Arc<EvictionSignal>>,
    evicted: u64,
    /// The count at the last log line, and its time.
    logged: (u64, Option<Instant>),
}

/// Signals that a slot is evicted. One holder waits for it.
#[derive(Debug, Default)]
pub(in crate::http) struct EvictionSignal(Notify);

/// A taken slot; dropping it frees it.
pub(in crate::http) struct AdmissionSlot {
    pool: SlotPool,
    id: SlotId,
}

impl SlotPool {
    pub(super) fn new(name: &'static str, capacity: usize) -> Self {
        let slots = FairSlots::new(capacity);
        let state = SlotState { slots, signals: HashMap::new(), evicted: 0, logged: (0, None) };
        Self(Arc::new(SlotPoolShared { name, state: Mutex::new(state) }))
    }

    /// Takes a slot. When `eviction` fires, the slot is lost; the holder has to wait for it.
    pub(in crate::http) fn enter(&self, peer: IpAddr, rank: Rank, eviction: &Arc<EvictionSignal>) -> AdmissionSlot {
        let (lost, count) = {
            let mut state = self.state();
            let (id, evicted) = state.slots.enter(peer.into(), rank);
            state.signals.insert(id, Arc::clone(eviction));
            let lost = evicted.and_then(|evicted| state.signals.remove(&evicted));
            state.evicted += u64::from(lost.is_some());
            let slot = AdmissionSlot { pool: self.clone(), id };
            let Some(lost) = lost else { return slot };
            ((lost, slot), state.due(Instant::now()))
        };
        let (lost, slot) = lost;
        lost.fire();
        if let Some(count) = count {
            warn!(slots = self.0.name, count, %peer, "all slots are taken; the oldest of the busiest peer were closed");
        }
        slot
    }

    /// The purpose of the slots.
    pub(in crate::http) fn name(&self) -> &'static str {
        self.0.name
    }

    /// Slots taken at the moment.
    pub(in crate::http) fn taken(&self) -> usize {
        self.state().slots.taken()
    }

    /// Slots evicted since the start.
    pub(in crate::http) fn evicted(&self) -> u64 {
        self.state().evicted
    }

    fn state(&self) -> MutexGuard<'_, SlotState> {
        // Every critical section leaves the state valid, so a poisoned lock can be used.
        locked(&self.0.state)
    }
}

impl SlotState {
    /// How many evictions to log now, if it is time.
    fn due(&mut self, now: Instant) -> Option<u64> {
        let (counted, at) = self.logged;
        if at.is_some_and(|at| now.saturating_duration_since(at) < LOG_EVERY) {
            return None;
        }
        self.logged = (self.evicted, Some(now));
        Some(self.evicted - counted)
    }
}

impl AdmissionSlot {
    /// Sets what the slot is used for from now on.
    pub(in crate::http) fn set_rank(&self, rank: Rank) {
        self.pool.state().slots.set_rank(self.id, rank);
    }
}

impl Drop for AdmissionSlot {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.slots.leave(self.id);
        state.signals.remove(&self.id);
    }
}

impl EvictionSignal {
    /// Resolves when the slot is evicted, also if that was before the call.
    pub(in crate::http) async fn fired(&self) {
        self.0.notified().await;
    }

    fn fire(&self) {
        self.0.notify_one();
    }
}

impl fmt::Debug for SlotPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SlotPool").field(&self.0.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn only_the_evicted_holder_is_notified() {
        let pool = SlotPool::new("test", 2);
        let signals: Vec<Arc<EvictionSignal>> = (0..3).map(|_| Arc::default()).collect();
        let peer = IpAddr::from([10, 0, 0, 1]);
        let slots: Vec<_> = signals.iter().map(|eviction| pool.enter(peer, Rank::Waiting, eviction)).collect();
        let fired: Vec<_> = signals.iter().map(|eviction| eviction.fired().now_or_never().is_some()).collect();
        assert_eq!((fired, pool.taken(), pool.evicted()), (vec![true, false, false], 2, 1));
        drop(slots);
        assert_eq!((pool.taken(), pool.state().signals.len()), (0, 0));
    }

    #[test]
    fn evictions_are_logged_once_a_minute_with_their_number() {
        let mut state = SlotState { slots: FairSlots::new(1), signals: HashMap::new(), evicted: 1, logged: (0, None) };
        let now = Instant::now();
        assert_eq!(state.due(now), Some(1));
        state.evicted = 5_000;
        assert_eq!(state.due(now + Duration::from_secs(59)), None);
        assert_eq!(state.due(now + LOG_EVERY), Some(4_999));
    }
}
