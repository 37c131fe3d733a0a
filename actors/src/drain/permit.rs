//! The gate itself: whether turns are admitted, and the turns in flight.
//!
//! It outlives every `DrainActor`. A new incarnation adopts it, so the count never drops to 0 while turns run, and neither a shutdown
//! nor a drain is lost. It records the incarnation that currently owns it: one that was fenced in the middle of an
//! answer can admit nothing, and change nothing, when it continues.

pub mod messages; // Messages that carry a permit, or the port of a turn.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::plan::GatePlan;
use crate::clock::Clock;
use crate::locked::locked;
use caduceus_contract::messages::drain::{Origin, Refusal, TurnTicket};
use caduceus_contract::messages::turn::StopTurn;
use caduceus_contract::turn_id::TurnId;
use caduceus_supervision::{Incarnation, Port};

/// The gate. Cheap to clone; every clone is the same gate.
#[derive(Clone, Default)]
pub struct Gate {
    state: Arc<Mutex<GateInner>>,
    /// It outlives the actors, so it has a clock of its own.
    clock: Clock,
}

#[derive(Default)]
struct GateInner {
    /// The generation of the actor that owns it.
    owner: u64,
    plan: GatePlan,
    turns: BTreeMap<TurnId, GateEntry>,
    /// Called whenever a turn leaves.
    released: Option<Arc<dyn Fn() + Send + Sync>>,
}

struct GateEntry {
    ticket: TurnTicket,
    since: Duration,
    stop: Option<Port<StopTurn>>,
    /// The incarnation that runs it, once it has started.
    incarnation: Option<Incarnation>,
}

impl GateEntry {
    /// Whether this turn still runs. A turn whose incarnation was fenced stays in the list until its permit is dropped, which may not
    /// happen if it hangs. It can send nothing and receive no order to stop, so a drain does not wait for it, and it is not shown. Its agent is ended by its guard when the permit's holder is dropped.
    fn is_running(&self) -> bool {
        !self.incarnation.as_ref().is_some_and(Incarnation::is_fenced)
    }
}

/// A turn in flight, as recorded by the gate.
#[derive(Debug, Clone)]
pub(super) struct Permitted {
    pub(super) ticket: TurnTicket,
    /// On the clock of the gate.
    pub(super) since: Duration,
    /// The port to stop it, once it has started.
    pub(super) stop: Option<Port<StopTurn>>,
}

/// A turn's place in the count; dropping it ends the turn's count, whatever the reason.
pub struct TurnPermit {
    gate: Gate,
    turn: TurnId,
}

impl Gate {
    /// Makes the incarnation `owner` the only one that may act, with `released` called for every turn that ends.
    pub(super) fn adopt(&self, owner: u64, released: impl Fn() + Send + Sync + 'static) {
        let mut inner = self.lock();
        if owner >= inner.owner {
            inner.owner = owner;
            inner.released = Some(Arc::new(released));
        }
    }

    /// Admits a turn, or returns the reason against it: one step, so that no change happens between the check of the plan and the count.
    pub(super) fn admit(&self, owner: u64, ticket: TurnTicket, origin: Origin) -> Result<TurnPermit, Refusal> {
        let mut inner = self.lock();
        if inner.owner != owner {
            return Err(Refusal::Superseded);
        }
        inner.plan.admit(&ticket.profile, origin)?;
        let turn = ticket.id;
        inner.turns.insert(turn, GateEntry { ticket, since: self.clock.now(), stop: None, incarnation: None });
        Ok(TurnPermit { gate: self.clone(), turn })
    }

    /// Changes the plan on behalf of `owner`; `None` if it is superseded.
    pub(super) fn change<R>(&self, owner: u64, change: impl FnOnce(&mut GatePlan) -> R) -> Option<R> {
        let mut inner = self.lock();
        (inner.owner == owner).then(|| change(&mut inner.plan))
    }

    /// Reads the plan.
    pub(super) fn read<R>(&self, read: impl FnOnce(&GatePlan) -> R) -> R {
        read(&self.lock().plan)
    }

    /// The time on the clock of the gate.
    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Turns in flight, without those whose incarnation was fenced.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().turns.values().filter(|entry| entry.is_running()).count()
    }

    /// The turns in flight, oldest first, without those whose incarnation was fenced.
    pub(super) fn turns(&self) -> Vec<Permitted> {
        let permitted = |entry: &GateEntry| Permitted {
            ticket: entry.ticket.clone(),
            since: entry.since,
            stop: entry.stop.clone(),
        };
        self.lock().turns.values().filter(|entry| entry.is_running()).map(permitted).collect()
    }

    // Every critical section leaves the gate consistent, so a poisoned lock can be used.
    fn lock(&self) -> MutexGuard<'_, GateInner> {
        locked(&self.state)
    }
}

impl TurnPermit {
    /// The turn of this place.
    #[must_use]
    pub fn turn(&self) -> TurnId {
        self.turn
    }

    /// Sets the port to stop this turn. The calling incarnation runs the turn: once it is fenced, the turn no longer
    /// counts.
    pub fn attach(&self, stop: Port<StopTurn>) {
        if let Some(entry) = self.gate.lock().turns.get_mut(&self.turn) {
            entry.stop = Some(stop);
            entry.incarnation = Incarnation::current();
        }
    }
}

impl Drop for TurnPermit {
    fn drop(&mut self) {
        let mut inner = self.gate.lock();
        let entry = inner.turns.remove(&self.turn);
        let released = inner.released.clone();
        // Their owners may use the gate.
        drop(inner);
        drop(entry);
        if let Some(released) = released {
            released();
        }
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("turns", &self.count()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for TurnPermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TurnPermit").field("turn", &self.turn).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use actix::{Actor, Context, Handler};

    use super::*;
    use crate::turn::id::fresh_turn_id;
    use caduceus_contract::profile_name::ProfileName;
    use caduceus_contract::wire::event::Source;
    use caduceus_contract::wire::session::{SessionKey, SessionRules};

    struct StoppableTurn;

    impl Actor for StoppableTurn {
        type Context = Context<Self>;
    }

    impl Handler<StopTurn> for StoppableTurn {
        type Result = ();
        fn handle(&mut self, _: StopTurn, _: &mut Self::Context) {}
    }

    fn ticket() -> TurnTicket {
        let profile = ProfileName::default_profile();
        let session = SessionKey::new(&Source::default(), &profile, SessionRules::default());
        TurnTicket { id: fresh_turn_id(), profile, session }
    }

    #[actix::test]
    async fn a_turn_whose_incarnation_was_fenced_no_longer_counts() {
        let gate = Gate::default();
        let (lost, kept) = (Incarnation::new("turns/1", 1), Incarnation::new("turns/2", 1));
        let permits = [&lost, &kept].map(|incarnation| {
            let permit = gate.admit(0, ticket(), Origin::External).unwrap();
            incarnation.enter(|| permit.attach(Port::from(StoppableTurn.start())));
            permit
        });
        let _not_started = gate.admit(0, ticket(), Origin::External).unwrap();
        assert_eq!((gate.count(), gate.turns().len()), (3, 3));

        lost.fence();
        assert_eq!((gate.count(), gate.turns().len()), (2, 2));
        assert!(gate.turns().iter().all(|turn| turn.ticket.id != permits[0].turn()));

        drop(permits);
        assert_eq!(gate.count(), 1);
    }
}
