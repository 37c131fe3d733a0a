//! The gate itself: whether turns are admitted, and the turns in flight.
//!
//! It outlives any one `DrainActor`. A new incarnation adopts it, so the count never drops to 0 while turns run, and neither a shutdown nor
//! a drain is forgotten. It holds which incarnation is its keeper at the moment: one that was fenced in the middle of an
//! answer can admit nothing, and change nothing, when it wakes.

pub mod messages; // Those that carry a permit, or the way to a turn.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::messages::{Origin, Refusal, TurnTicket};
use super::plan::GatePlan;
use crate::clock::Clock;
use crate::turn::id::TurnId;
use crate::turn::messages::StopTurn;
use caduceus_supervision::{Incarnation, Port};

/// The gate. Cheap to clone; every clone is the same gate.
#[derive(Clone, Default)]
pub struct Gate {
    state: Arc<Mutex<GateState>>,
    /// It outlives the actors, so it has a clock of its own.
    clock: Clock,
}

#[derive(Default)]
struct GateState {
    /// The generation of the actor that keeps it.
    keeper: u64,
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
    /// Whether this turn still runs. One whose incarnation was cut off stays here until its permit is dropped, which may be
    /// never if it hangs: it can send nothing more and receive no order to stop, so neither a drain waits for it nor is it
    /// shown. Its agent is ended by its guard when what holds the permit is dropped.
    fn is_running(&self) -> bool {
        !self.incarnation.as_ref().is_some_and(Incarnation::is_fenced)
    }
}

/// A turn in flight as the gate holds it.
#[derive(Debug, Clone)]
pub(super) struct Permitted {
    pub(super) ticket: TurnTicket,
    /// On the clock of the gate.
    pub(super) since: Duration,
    /// The way to stop it, once it has started.
    pub(super) stop: Option<Port<StopTurn>>,
}

/// A turn's place in the count; dropping it ends the turn's count, whatever the reason.
pub struct TurnPermit {
    gate: Gate,
    turn: TurnId,
}

impl Gate {
    /// Makes the incarnation `keeper` the only one that may act, with `released` called for every turn that leaves.
    pub(super) fn adopt(&self, keeper: u64, released: impl Fn() + Send + Sync + 'static) {
        let mut inner = self.lock();
        if keeper >= inner.keeper {
            inner.keeper = keeper;
            inner.released = Some(Arc::new(released));
        }
    }

    /// Admits a turn, or says why not: one step, so that nothing comes between the look at the plan and the count.
    pub(super) fn admit(&self, keeper: u64, ticket: TurnTicket, origin: Origin) -> Result<TurnPermit, Refusal> {
        let mut inner = self.lock();
        if inner.keeper != keeper {
            return Err(Refusal::Superseded);
        }
        inner.plan.admit(&ticket.profile, origin)?;
        let turn = ticket.id;
        inner.turns.insert(turn, GateEntry { ticket, since: self.clock.now(), stop: None, incarnation: None });
        Ok(TurnPermit { gate: self.clone(), turn })
    }

    /// Changes the plan on behalf of `keeper`; `None` if it no longer is that.
    pub(super) fn change<R>(&self, keeper: u64, change: impl FnOnce(&mut GatePlan) -> R) -> Option<R> {
        let mut inner = self.lock();
        (inner.keeper == keeper).then(|| change(&mut inner.plan))
    }

    /// Looks at the plan.
    pub(super) fn look<R>(&self, look: impl FnOnce(&GatePlan) -> R) -> R {
        look(&self.lock().plan)
    }

    /// The time on the clock of the gate.
    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Turns in flight, without those whose incarnation was cut off.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().turns.values().filter(|entry| entry.is_running()).count()
    }

    /// The turns in flight, oldest first, without those whose incarnation was cut off.
    pub(super) fn turns(&self) -> Vec<Permitted> {
        let permitted = |entry: &GateEntry| Permitted {
            ticket: entry.ticket.clone(),
            since: entry.since,
            stop: entry.stop.clone(),
        };
        self.lock().turns.values().filter(|entry| entry.is_running()).map(permitted).collect()
    }

    // Every critical section leaves the gate whole, so a poisoned lock is still a good one.
    fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TurnPermit {
    /// Which turn this is the place of.
    #[must_use]
    pub fn turn(&self) -> TurnId {
        self.turn
    }

    /// Sets how this turn is stopped. The incarnation that calls this runs the turn: once it is cut off, the turn no longer
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
        // What they hold may itself use the gate.
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
    use crate::profile::name::ProfileName;
    use crate::relay::event::Source;
    use crate::relay::session::{SessionKey, SessionRules};

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
        TurnTicket { id: TurnId::fresh(), profile, session }
    }

    #[actix::test]
    async fn a_turn_whose_incarnation_was_cut_off_no_longer_counts() {
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
