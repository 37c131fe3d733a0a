//! The gate itself: whether turns are admitted, and the turns in flight.
//!
//! It outlives every `DrainActor`. A new incarnation adopts it, so the count never drops to 0 while turns run, and neither a shutdown
//! nor a drain is lost. It records the incarnation that currently owns it: one that was fenced in the middle of an
//! answer can admit nothing, and change nothing, when it continues.
//!
//! Only its owner changes its plan. The dispatcher takes permits from it directly, without a message: the check of the plan
//! and the count are one step under its lock, so no turn is admitted after the change of a drain that was answered.

pub mod messages; // Messages that carry a permit, or the port of a turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::plan::{DrainScope, GatePlan};
use crate::clock::Clock;
use crate::locked::locked;
use caduceus_contract::messages::drain::{Origin, Refusal, TurnTicket};
use caduceus_contract::messages::turn::StopTurn;
use caduceus_contract::share::DispatchShare;
use caduceus_contract::turn_id::TurnId;
use caduceus_supervision::{Incarnation, Port};

/// Turns of one dispatcher remembered that left without a start: more than it can have between a permit and a start.
const NEVER_STARTED: usize = 4_096;

/// The gate. Cheap to clone; every clone is the same gate.
#[derive(Clone)]
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
    /// The homes whose marker the owner has not read yet; `None` before it has read the gateway's own.
    unread: Option<BTreeSet<DrainScope>>,
    turns: BTreeMap<TurnId, GateEntry>,
    /// The last turns of each dispatcher that left without a start, oldest first: one that failed meanwhile has recorded them as running.
    /// Apart, so that one whose turns cannot start, as while the disk is full, removes none of another.
    never_started: Vec<VecDeque<TurnId>>,
    /// Called whenever a turn leaves.
    released: Option<Arc<dyn Fn() + Send + Sync>>,
    /// Called with the number of the dispatcher whenever the work of one of its turns ends.
    work_ended: Option<WorkEnded>,
}

type WorkEnded = Arc<dyn Fn(usize) + Send + Sync>;

struct GateEntry {
    ticket: TurnTicket,
    since: Duration,
    stop: Option<Port<StopTurn>>,
    /// The incarnation that runs it, once it has started.
    incarnation: Option<Incarnation>,
    /// Its work is done, and its dispatcher may not have received that yet.
    has_ended: bool,
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
    /// Its work has not ended. If it has, the turn has no slot any more, and its end is not on disk.
    pub(super) works: bool,
}

/// Of the turns in flight, oldest first, those that are shown: those that work, so never more than there are slots. While none works and the
/// ends of some are not on disk, it is one of these: only without any is the gateway idle.
pub(super) fn shown(turns: &[Permitted]) -> impl Iterator<Item = &Permitted> {
    let ending = turns.first().filter(|_| turns.iter().all(|turn| !turn.works));
    turns.iter().filter(|turn| turn.works).chain(ending)
}

/// A turn that needs a permit. The permit is its place in the count; dropping it ends the turn.
#[derive(Debug, Clone)]
pub struct PermitRequest {
    /// The turn.
    pub ticket: TurnTicket,
    /// Its cause.
    pub origin: Origin,
}

/// The answers of the gate for some turns.
pub struct TakenPermits<T> {
    /// The turns with their permits, or the reasons against them.
    pub answered: Vec<(T, Result<TurnPermit, Refusal>)>,
    /// The turns whose marker has not been read yet: their permits are requested from the owner, which answers when it has.
    pub unread: Vec<T>,
}

/// A turn's place in the count; dropping it ends the turn's count, whatever the reason.
pub struct TurnPermit {
    gate: Gate,
    turn: TurnId,
}

impl Default for Gate {
    /// That of one dispatcher.
    fn default() -> Self {
        Self::of_dispatchers(1)
    }
}

#[cfg(test)]
impl Gate {
    /// A gate whose owner has read all markers.
    pub(crate) fn with_markers_read(dispatchers: usize) -> Self {
        let gate = Self::of_dispatchers(dispatchers);
        gate.lock().unread = Some(BTreeSet::new());
        gate
    }
}

impl Gate {
    /// The gate from which so many dispatchers, at least one, take permits.
    #[must_use]
    pub fn of_dispatchers(dispatchers: usize) -> Self {
        let inner = GateInner { never_started: vec![VecDeque::new(); dispatchers.max(1)], ..GateInner::default() };
        Self { state: Arc::new(Mutex::new(inner)), clock: Clock::default() }
    }

    /// Makes the incarnation `owner` the only one that may act, with `released` called for every turn that ends.
    pub(super) fn adopt(&self, owner: u64, released: impl Fn() + Send + Sync + 'static) {
        let mut inner = self.lock();
        if owner >= inner.owner {
            inner.owner = owner;
            inner.unread = None;
            inner.released = Some(Arc::new(released));
        }
    }

    /// Sets the homes whose marker `owner` has not read yet.
    pub(super) fn set_unread(&self, owner: u64, unread: BTreeSet<DrainScope>) {
        let mut inner = self.lock();
        if inner.owner == owner {
            inner.unread = Some(unread);
        }
    }

    /// `owner` has read the marker of a home, or has given up.
    pub(super) fn set_read(&self, owner: u64, home: &DrainScope) {
        let mut inner = self.lock();
        if inner.owner == owner
            && let Some(unread) = &mut inner.unread
        {
            unread.remove(home);
        }
    }

    /// Calls `work_ended` from now on with the number of the dispatcher whenever the work of one of its turns ends.
    pub(crate) fn on_work_ended(&self, work_ended: impl Fn(usize) + Send + Sync + 'static) {
        self.lock().work_ended = Some(Arc::new(work_ended));
    }

    /// Turns of the dispatcher with this number whose work has not ended.
    pub(crate) fn working(&self, dispatcher: usize) -> usize {
        let inner = self.lock();
        let works = |entry: &&GateEntry| {
            !entry.has_ended && entry.is_running() && inner.dispatcher_of(&entry.ticket) == dispatcher
        };
        inner.turns.values().filter(works).count()
    }

    /// Admits turns, or returns the reason against each.
    pub fn take_permits<T>(&self, turns: impl IntoIterator<Item = (T, PermitRequest)>) -> TakenPermits<T> {
        let mut taken = TakenPermits { answered: Vec::new(), unread: Vec::new() };
        let mut inner = self.lock();
        for (turn, request) in turns {
            let depends_on = DrainScope::Profile(request.ticket.profile.clone());
            if inner.unread.as_ref().is_none_or(|unread| unread.contains(&depends_on)) {
                taken.unread.push(turn);
            } else {
                taken.answered.push((turn, inner.enter(self, request.ticket, request.origin)));
            }
        }
        taken
    }

    /// Admits a turn, or returns the reason against it: one step, so that no change happens between the check of the plan and the count.
    pub(super) fn admit(&self, owner: u64, ticket: TurnTicket, origin: Origin) -> Result<TurnPermit, Refusal> {
        let mut inner = self.lock();
        if inner.owner != owner {
            return Err(Refusal::Superseded);
        }
        inner.enter(self, ticket, origin)
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

    /// Whether this turn left the gate without a start.
    #[must_use]
    pub fn never_started(&self, turn: TurnId) -> bool {
        self.lock().never_started.iter().any(|turns| turns.contains(&turn))
    }

    /// Removes a turn that has not started, although its permit is held by a thread that hangs: it must not start any more. `false` if it
    /// has started.
    #[must_use]
    pub fn forget(&self, turn: TurnId) -> bool {
        let mut inner = self.lock();
        if inner.turns.get(&turn).is_some_and(|entry| entry.stop.is_some()) {
            return false;
        }
        let entry = inner.leave(turn);
        drop(inner);
        drop(entry);
        true
    }

    /// Turns in flight, as the status shows them: those that work, and at least 1 while the end of a turn is not on disk.
    #[must_use]
    pub fn count(&self) -> usize {
        let inner = self.lock();
        let in_flight = inner.turns.values().filter(|entry| entry.is_running());
        let (all, working) =
            in_flight.fold((0, 0), |(all, working), entry| (all + 1, working + usize::from(!entry.has_ended)));
        working.max(all.min(1))
    }

    /// The turns in flight, oldest first, without those whose incarnation was fenced. More than there are slots, while the ends of some
    /// are not on disk.
    pub(super) fn turns(&self) -> Vec<Permitted> {
        let permitted = |entry: &GateEntry| Permitted {
            ticket: entry.ticket.clone(),
            since: entry.since,
            stop: entry.stop.clone(),
            works: !entry.has_ended,
        };
        let mut turns: Vec<_> = self.lock().turns.values().filter(|entry| entry.is_running()).map(permitted).collect();
        // The ids of different dispatchers do not sort by time.
        turns.sort_by_key(|turn| turn.since);
        turns
    }

    // Every critical section leaves the gate consistent, so a poisoned lock can be used.
    fn lock(&self) -> MutexGuard<'_, GateInner> {
        locked(&self.state)
    }
}

impl GateInner {
    fn enter(&mut self, gate: &Gate, ticket: TurnTicket, origin: Origin) -> Result<TurnPermit, Refusal> {
        self.plan.admit(&ticket.profile, origin)?;
        let (turn, since) = (ticket.id, gate.clock.now());
        self.turns.insert(turn, GateEntry { ticket, since, stop: None, incarnation: None, has_ended: false });
        Ok(TurnPermit { gate: gate.clone(), turn })
    }

    fn leave(&mut self, turn: TurnId) -> Option<GateEntry> {
        let entry = self.turns.remove(&turn)?;
        if entry.stop.is_none() {
            let number = self.dispatcher_of(&entry.ticket);
            let never_started = &mut self.never_started[number];
            never_started.push_back(turn);
            if never_started.len() > NEVER_STARTED {
                never_started.pop_front();
            }
        }
        Some(entry)
    }

    /// The number of the dispatcher of a turn.
    fn dispatcher_of(&self, ticket: &TurnTicket) -> usize {
        DispatchShare::number_of_session(&ticket.session, self.never_started.len())
    }

    /// The work of a turn has ended, if it had not before. Returns what has to be called without the lock.
    fn end_work(&mut self, turn: TurnId) -> Option<impl FnOnce() + use<>> {
        let entry = self.turns.get_mut(&turn).filter(|entry| !entry.has_ended)?;
        entry.has_ended = true;
        let work_ended = self.work_ended.clone()?;
        let dispatcher = self.dispatcher_of(&self.turns.get(&turn)?.ticket);
        Some(move || work_ended(dispatcher))
    }
}

impl TurnPermit {
    /// The turn of this place.
    #[must_use]
    pub fn turn(&self) -> TurnId {
        self.turn
    }

    /// Sets the port to stop this turn. The calling incarnation runs the turn: once it is fenced, the turn no longer
    /// counts. `false` if the turn was forgotten ([`Gate::forget`]): it must not run.
    #[must_use]
    pub fn attach(&self, stop: Port<StopTurn>) -> bool {
        let mut inner = self.gate.lock();
        let Some(entry) = inner.turns.get_mut(&self.turn) else { return false };
        entry.stop = Some(stop);
        entry.incarnation = Incarnation::current();
        true
    }

    /// What the turn calls when its work has ended, before it reports that.
    pub fn end_of_work(&self) -> impl FnOnce() + use<> {
        let (gate, turn) = (self.gate.clone(), self.turn);
        move || {
            let ended = gate.lock().end_work(turn);
            if let Some(ended) = ended {
                ended();
            }
        }
    }
}

impl Drop for TurnPermit {
    fn drop(&mut self) {
        let mut inner = self.gate.lock();
        let ended = inner.end_work(self.turn);
        let entry = inner.leave(self.turn);
        let released = inner.released.clone();
        // Their owners may use the gate.
        drop(inner);
        drop(entry);
        if let Some(ended) = ended {
            ended();
        }
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
mod exploration;
#[cfg(test)]
mod tests;
