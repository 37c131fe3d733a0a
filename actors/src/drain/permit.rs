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
        let turn = ticket.id;
        self.turns.insert(turn, GateEntry { ticket, since: gate.clock.now(), stop: None, incarnation: None });
        Ok(TurnPermit { gate: gate.clone(), turn })
    }

    fn leave(&mut self, turn: TurnId) -> Option<GateEntry> {
        let entry = self.turns.remove(&turn)?;
        if entry.stop.is_none() {
            let number = DispatchShare::number_of_session(&entry.ticket.session, self.never_started.len());
            let never_started = &mut self.never_started[number];
            never_started.push_back(turn);
            if never_started.len() > NEVER_STARTED {
                never_started.pop_front();
            }
        }
        Some(entry)
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
}

impl Drop for TurnPermit {
    fn drop(&mut self) {
        let mut inner = self.gate.lock();
        let entry = inner.leave(self.turn);
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
        ticket_in("")
    }

    fn ticket_in(chat: &str) -> TurnTicket {
        let profile = ProfileName::default_profile();
        let source = Source { chat_id: chat.to_owned(), ..Source::default() };
        let session = SessionKey::new(&source, &profile, SessionRules::default());
        TurnTicket { id: fresh_turn_id(), profile, session }
    }

    #[actix::test]
    async fn a_turn_whose_incarnation_was_fenced_no_longer_counts() {
        let gate = Gate::default();
        let (lost, kept) = (Incarnation::new("turns/1", 1), Incarnation::new("turns/2", 1));
        let permits = [&lost, &kept].map(|incarnation| {
            let permit = gate.admit(0, ticket(), Origin::External).unwrap();
            assert!(incarnation.enter(|| permit.attach(Port::from(StoppableTurn.start()))));
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

    #[actix::test]
    async fn a_turn_that_left_or_was_forgotten_before_its_start_is_known_and_never_starts() {
        let gate = Gate::default();
        let [started, left, forgotten] = [1, 2, 3].map(|_| gate.admit(0, ticket(), Origin::External).unwrap());
        let turns = [&started, &left, &forgotten].map(TurnPermit::turn);
        assert!(started.attach(Port::from(StoppableTurn.start())));
        assert!(turns.iter().all(|turn| !gate.never_started(*turn)));
        assert!(gate.forget(forgotten.turn()) && !gate.forget(started.turn()), "a turn that runs is not forgotten");
        assert_eq!(gate.count(), 2);
        assert!(!forgotten.attach(Port::from(StoppableTurn.start())), "it must not run");
        drop([started, left, forgotten]);
        assert_eq!(turns.map(|turn| gate.never_started(turn)), [false, true, true]);
    }

    #[test]
    fn turns_of_one_dispatcher_that_never_start_remove_none_of_another() {
        let gate = Gate::of_dispatchers(2);
        let admit = |ticket| gate.admit(0, ticket, Origin::External).unwrap().turn();
        let of = |number| {
            let chats = (0..100).map(|chat| ticket_in(&chat.to_string()));
            chats.into_iter().find(|ticket| DispatchShare::number_of_session(&ticket.session, 2) == number).unwrap()
        };
        let (kept, removed) = (admit(of(0)), admit(of(1)));
        for _ in 0..NEVER_STARTED {
            admit(TurnTicket { id: fresh_turn_id(), ..of(1) });
        }
        assert!(gate.never_started(kept) && !gate.never_started(removed));
    }

    fn take(gate: &Gate, profile: &str) -> Result<Result<(), Refusal>, &'static str> {
        let profile = ProfileName::parse(profile).unwrap();
        let request = PermitRequest { ticket: TurnTicket { profile, ..ticket() }, origin: Origin::External };
        let taken = gate.take_permits([((), request)]);
        match taken.answered.into_iter().next() {
            Some(((), permit)) => Ok(permit.map(drop)),
            None => Err("unread"),
        }
    }

    #[test]
    fn permits_are_taken_without_a_message_only_once_the_markers_are_read_by_the_present_owner() {
        let gate = Gate::default();
        let work = DrainScope::Profile(ProfileName::parse("work").unwrap());
        for owner in [1, 2] {
            gate.adopt(owner, || ());
            assert_eq!(take(&gate, "default"), Err("unread"), "owner {owner} has read nothing");
            gate.set_read(owner, &DrainScope::Gateway);
            assert_eq!(take(&gate, "default"), Err("unread"), "only the first set of homes opens it");
            gate.set_unread(owner, [work.clone()].into());
            assert_eq!((take(&gate, "default"), take(&gate, "work")), (Ok(Ok(())), Err("unread")));
            gate.set_read(owner - 1, &work);
            gate.set_unread(owner - 1, BTreeSet::new());
            assert_eq!(take(&gate, "work"), Err("unread"), "an earlier owner changes nothing");
            gate.set_read(owner, &work);
            assert_eq!(take(&gate, "work"), Ok(Ok(())));
        }
        gate.change(2, GatePlan::stop);
        assert_eq!(take(&gate, "work"), Ok(Err(Refusal::Stopping)));
        assert_eq!(gate.count(), 0);
    }
}
