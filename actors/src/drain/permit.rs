//! The count of turns in flight, and a turn's place in it.
//!
//! The registry outlives any one `DrainActor`: a new incarnation adopts it, so the count never drops to 0
//! while turns run. It also knows which incarnation is the gate at the moment, so that one which was fenced off in the middle
//! of an answer can admit nothing when it wakes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::profile::name::ProfileName;
use crate::relay::session::SessionKey;
use crate::supervision::Port;
use crate::turn::id::TurnId;
use crate::turn::messages::StopTurn;

/// Which turn a permit is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnTicket {
    /// Which turn.
    pub id: TurnId,
    /// Under which profile it runs.
    pub profile: ProfileName,
    /// In which session it runs.
    pub session: SessionKey,
}

/// The turns in flight. Cheap to clone; every clone is the same registry.
#[derive(Debug, Clone, Default)]
pub struct PermitRegistry(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// The incarnation of the gate that may admit.
    gate: u64,
    turns: BTreeMap<TurnId, Entry>,
    /// Told whenever a turn leaves.
    released: Option<Arc<dyn Fn() + Send + Sync>>,
}

#[derive(Debug, Clone)]
struct Entry {
    ticket: TurnTicket,
    since: Instant,
    stop: Option<Port<StopTurn>>,
}

/// A turn in flight as the registry knows it.
#[derive(Debug, Clone)]
pub struct Permitted {
    /// Which turn, for whom.
    pub ticket: TurnTicket,
    /// When it was admitted.
    pub since: Instant,
    /// The way to stop it, once it has started.
    pub stop: Option<Port<StopTurn>>,
}

/// A turn's place in the count; dropping it ends the turn's count, whatever the reason.
#[derive(Debug)]
pub struct TurnPermit {
    registry: PermitRegistry,
    turn: TurnId,
}

/// The incarnation that asked to admit is no longer the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superseded;

impl PermitRegistry {
    /// Makes incarnation `gate` the only one that may admit, with `released` told of every turn that leaves.
    pub fn adopt(&self, gate: u64, released: impl Fn() + Send + Sync + 'static) {
        let mut inner = self.lock();
        inner.gate = inner.gate.max(gate);
        if inner.gate == gate {
            inner.released = Some(Arc::new(released));
        }
    }

    /// Admits a turn on behalf of incarnation `gate`.
    ///
    /// # Errors
    /// [`Superseded`] if another incarnation has adopted the registry meanwhile.
    pub fn admit(&self, gate: u64, ticket: TurnTicket) -> Result<TurnPermit, Superseded> {
        let mut inner = self.lock();
        if inner.gate != gate {
            return Err(Superseded);
        }
        let turn = ticket.id;
        inner.turns.insert(turn, Entry { ticket, since: Instant::now(), stop: None });
        Ok(TurnPermit { registry: self.clone(), turn })
    }

    /// Turns in flight.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().turns.len()
    }

    /// The turns in flight, oldest first.
    #[must_use]
    pub fn turns(&self) -> Vec<Permitted> {
        let inner = self.lock();
        let entry = |entry: &Entry| Permitted {
            ticket: entry.ticket.clone(),
            since: entry.since,
            stop: entry.stop.clone(),
        };
        inner.turns.values().map(entry).collect()
    }

    // Every critical section leaves the map whole, so a poisoned lock is still a good one.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TurnPermit {
    /// Which turn this is the place of.
    #[must_use]
    pub fn turn(&self) -> TurnId {
        self.turn
    }

    /// Tells the registry how this turn is stopped.
    pub fn attach(&self, stop: Port<StopTurn>) {
        if let Some(entry) = self.registry.lock().turns.get_mut(&self.turn) {
            entry.stop = Some(stop);
        }
    }
}

impl Drop for TurnPermit {
    fn drop(&mut self) {
        let (entry, released) = {
            let mut inner = self.registry.lock();
            (inner.turns.remove(&self.turn), inner.released.clone())
        };
        drop(entry);
        if let Some(released) = released {
            released();
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("gate", &self.gate).field("turns", &self.turns).finish_non_exhaustive()
    }
}
