//! The slots for turns, shared by the dispatchers. They outlive every incarnation of a dispatcher: its successor adopts the slots of the
//! turns that run, so none is lost and none is counted twice. Until then a turn that ends gives its own slot back, because the gate reports
//! the end. A replaced incarnation can change nothing.
//!
//! The decisions are in `SlotPlan`. A dispatcher takes a slot without a message; one for which a slot became free is notified.

use std::sync::{Arc, Mutex, MutexGuard};

use actix::Message;
use tracing::debug;

use super::plan::{SlotAccess, SlotPlan};
use crate::drain::permit::Gate;
use crate::locked::locked;
use caduceus_supervision::Port;

/// A slot is reserved for this dispatcher, which was in line for one. If the message is lost, it finds the slot at its next check of
/// the links.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct SlotReserved;

/// The slots of all dispatchers. Clones share them.
#[derive(Debug, Clone)]
pub struct Slots(Arc<SharedSlots>);

#[derive(Debug)]
struct SharedSlots {
    state: Mutex<SlotState>,
    /// Which turns work. Its lock is taken inside that of the slots, never the other way round.
    gate: Gate,
    /// The dispatchers, by number.
    dispatchers: Vec<Port<SlotReserved>>,
}

#[derive(Debug)]
struct SlotState {
    plan: SlotPlan,
    /// The generation of each dispatcher that may change the plan.
    owners: Vec<u64>,
}

/// The slots, as one incarnation of a dispatcher has access to them.
#[derive(Debug)]
pub(super) struct DispatcherSlots {
    slots: Slots,
    dispatcher: usize,
    generation: u64,
}

impl Slots {
    /// `limit` slots for these dispatchers, which take their permits from `gate`.
    #[must_use]
    pub fn new(limit: usize, gate: Gate, dispatchers: Vec<Port<SlotReserved>>) -> Self {
        let number = dispatchers.len();
        let state = SlotState { plan: SlotPlan::new(limit, number), owners: vec![0; number] };
        let slots = Self(Arc::new(SharedSlots { state: Mutex::new(state), gate, dispatchers }));
        // The slots of an only dispatcher are of no use to others.
        if number > 1 {
            let shared = Arc::downgrade(&slots.0);
            slots.0.gate.on_work_ended(move |dispatcher| {
                if let Some(shared) = shared.upgrade() {
                    Self(shared).work_ended(dispatcher);
                }
            });
        }
        slots
    }

    /// Makes the incarnation `generation` the only one of `dispatcher` that has access. The slots of its predecessor's turns that still
    /// work stay in use until it has found the turns; a slot that was reserved for the predecessor goes to the next in line.
    pub(super) fn of(&self, dispatcher: usize, generation: u64) -> DispatcherSlots {
        let mut state = self.lock();
        state.owners[dispatcher] = state.owners[dispatcher].max(generation);
        drop(state);
        let mut slots = DispatcherSlots { slots: self.clone(), dispatcher, generation };
        slots.begin_recovery();
        slots
    }

    /// The work of a turn has ended. While its dispatcher is up, that gives the slot back.
    fn work_ended(&self, dispatcher: usize) {
        let mut state = self.lock();
        if state.plan.is_recovering(dispatcher) {
            let working = self.0.gate.working(dispatcher);
            state.plan.work_ended(dispatcher, working);
            self.notify(state, None);
        }
    }

    /// Notifies the dispatchers for which a slot was reserved, except `own`, after it has released the lock.
    fn notify(&self, mut state: MutexGuard<'_, SlotState>, own: Option<usize>) {
        let to_notify = state.plan.take_notified();
        drop(state);
        for dispatcher in to_notify.into_iter().filter(|dispatcher| Some(*dispatcher) != own) {
            if let Err(error) = self.0.dispatchers[dispatcher].tell(SlotReserved) {
                debug!(dispatcher, %error, "dispatcher not notified of a slot");
            }
        }
    }

    // Every critical section leaves the plan consistent, so a poisoned lock can be used.
    fn lock(&self) -> MutexGuard<'_, SlotState> {
        locked(&self.0.state)
    }
}

impl DispatcherSlots {
    /// From now on a turn that ends gives its slot back by itself.
    fn begin_recovery(&mut self) {
        let gate = self.slots.0.gate.clone();
        self.change(|slots, dispatcher| slots.begin_recovery(dispatcher, gate.working(dispatcher)));
    }
}

impl Drop for DispatcherSlots {
    /// What a dispatcher that has ended does not need goes to the next in line at once, and not when its successor starts: the slot that is
    /// reserved for it, and those of turns whose work has ended.
    fn drop(&mut self) {
        self.begin_recovery();
    }
}

impl SlotAccess for DispatcherSlots {
    fn change<R>(&mut self, change: impl FnOnce(&mut SlotPlan, usize) -> R) -> Option<R> {
        let mut state = self.slots.lock();
        if state.owners[self.dispatcher] != self.generation {
            return None;
        }
        let result = change(&mut state.plan, self.dispatcher);
        // The caller reads its own reservation from the plan.
        self.slots.notify(state, Some(self.dispatcher));
        Some(result)
    }
}

#[cfg(test)]
mod exploration;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use actix::{Actor, Addr, Context, Handler};

    use super::*;
    use crate::drain::permit::{PermitRequest, TurnPermit};
    use crate::turn::id::fresh_turn_id;
    use caduceus_contract::messages::drain::{Origin, TurnTicket};
    use caduceus_contract::profile_name::ProfileName;
    use caduceus_contract::share::DispatchShare;
    use caduceus_contract::wire::event::Source;
    use caduceus_contract::wire::session::{SessionKey, SessionRules};

    /// Counts its notifications.
    #[derive(Default)]
    struct NotifiedDispatcher(Arc<AtomicUsize>);

    impl Actor for NotifiedDispatcher {
        type Context = Context<Self>;
    }

    impl Handler<SlotReserved> for NotifiedDispatcher {
        type Result = ();

        fn handle(&mut self, _: SlotReserved, _: &mut Self::Context) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `limit` slots for two dispatchers: these with their first incarnations, the count of notifications, and its address.
    fn two(limit: usize) -> (Slots, [DispatcherSlots; 2], Arc<AtomicUsize>, Addr<NotifiedDispatcher>) {
        let count = Arc::<AtomicUsize>::default();
        let actor = NotifiedDispatcher(Arc::clone(&count)).start();
        let slots = Slots::new(limit, Gate::with_markers_read(2), vec![Port::from(actor.clone()); 2]);
        let both = [slots.of(0, 1), slots.of(1, 1)].map(|mut slots| {
            slots.change(|slots, dispatcher| slots.adopt(dispatcher, 0));
            slots
        });
        (slots, both, count, actor)
    }

    /// A permit for a turn of the first dispatcher.
    fn permit(slots: &Slots) -> TurnPermit {
        let profile = ProfileName::default_profile();
        let sessions = (0..100).map(|chat| Source { chat_id: chat.to_string(), ..Source::default() });
        let mut sessions = sessions.map(|source| SessionKey::new(&source, &profile, SessionRules::default()));
        let session = sessions.find(|session| DispatchShare::number_of_session(session, 2) == 0).unwrap();
        let ticket = TurnTicket { id: fresh_turn_id(), profile, session };
        let taken = slots.0.gate.take_permits([((), PermitRequest { ticket, origin: Origin::External })]);
        taken.answered.into_iter().next().unwrap().1.unwrap()
    }

    fn take_or_wait(slots: &mut DispatcherSlots) -> Option<bool> {
        slots.change(SlotPlan::take_or_wait)
    }

    #[actix::test]
    async fn a_dispatcher_in_line_is_notified_once_when_a_slot_becomes_free() {
        let (_, [mut first, mut second], count, actor) = two(1);
        assert_eq!(take_or_wait(&mut first), Some(true));
        assert_eq!([(); 2].map(|()| take_or_wait(&mut second)), [Some(false); 2]);
        assert_eq!(first.change(SlotPlan::give_back), Some(false));
        assert_eq!((take_or_wait(&mut first), take_or_wait(&mut second)), (Some(false), Some(true)));
        // Its mailbox keeps the order: what was sent before has been handled.
        actor.send(SlotReserved).await.expect("it runs");
        assert_eq!(count.load(Ordering::Relaxed), 1 + 1);
    }

    #[actix::test]
    async fn a_dispatcher_is_not_notified_of_a_slot_that_it_gave_back_itself() {
        let (_, [mut first, _], count, actor) = two(1);
        assert_eq!((take_or_wait(&mut first), take_or_wait(&mut first)), (Some(true), Some(false)));
        assert_eq!(first.change(SlotPlan::give_back), Some(true), "it is the next in line");
        assert_eq!(take_or_wait(&mut first), Some(true));
        actor.send(SlotReserved).await.expect("it runs");
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[actix::test]
    async fn a_replaced_incarnation_has_no_access_and_leaves_no_slot_reserved() {
        let (slots, [mut first, mut second], ..) = two(1);
        assert_eq!((take_or_wait(&mut second), take_or_wait(&mut first)), (Some(true), Some(false)));
        second.change(SlotPlan::give_back);
        let mut next = slots.of(0, 2);
        assert_eq!(take_or_wait(&mut first), None, "it was replaced");
        assert_eq!(take_or_wait(&mut second), Some(true), "the slot that was reserved for the first is free");
        assert_eq!(next.change(|slots, _| slots.in_use()), Some(1));
    }

    #[actix::test]
    async fn a_dispatcher_that_has_ended_keeps_no_slot_reserved_until_its_successor_starts() {
        let (slots, [mut first, mut second], ..) = two(1);
        assert_eq!((take_or_wait(&mut second), take_or_wait(&mut first)), (Some(true), Some(false)));
        second.change(SlotPlan::give_back);
        drop(first);
        assert_eq!(take_or_wait(&mut second), Some(true));
        assert_eq!(slots.of(0, 2).change(|slots, _| slots.in_use()), Some(1));
    }

    #[actix::test]
    async fn a_turn_that_ends_while_its_dispatcher_is_down_gives_its_slot_back() {
        let (slots, [mut first, mut other], count, actor) = two(4);
        assert_eq!([(); 4].map(|()| take_or_wait(&mut first)), [Some(true); 4]);
        let [reported, crashed, works] = [(); 3].map(|()| permit(&slots));
        reported.end_of_work()();
        assert_eq!(take_or_wait(&mut other), Some(false), "its dispatcher is up, and gives it back");
        drop(first);
        // The slots of the turn that was not reported yet, and of one that never had a permit.
        assert_eq!([(); 3].map(|()| take_or_wait(&mut other)), [Some(true), Some(true), Some(false)]);
        // Its successor has not read its queues.
        let mut next = slots.of(0, 2);
        drop(crashed);
        // The first end, the drop of the permit, and of another that had ended before.
        drop(reported);
        actor.send(SlotReserved).await.expect("it runs");
        assert_eq!(count.load(Ordering::Relaxed), 2 + 1, "it is notified once for each");
        assert_eq!((take_or_wait(&mut other), take_or_wait(&mut other)), (Some(true), Some(false)));
        next.change(|slots, dispatcher| slots.adopt(dispatcher, 1));
        works.end_of_work()();
        assert_eq!(take_or_wait(&mut other), Some(false), "the successor has found it, and gives it back");
        assert_eq!(next.change(SlotPlan::give_back), Some(false));
        assert_eq!(take_or_wait(&mut other), Some(true));
    }

    #[actix::test]
    async fn the_slots_of_turns_stay_in_use_until_the_next_incarnation_has_found_the_turns() {
        let (slots, [mut before, mut other], ..) = two(2);
        assert_eq!([(); 2].map(|()| take_or_wait(&mut before)), [Some(true); 2]);
        let _working = [(); 2].map(|()| permit(&slots));
        let mut after = slots.of(0, 2);
        assert_eq!(take_or_wait(&mut other), Some(false));
        after.change(|slots, dispatcher| slots.adopt(dispatcher, 1));
        assert_eq!(take_or_wait(&mut other), Some(true), "the other turn has ended meanwhile");
        assert_eq!(take_or_wait(&mut after), Some(false));
    }
}
