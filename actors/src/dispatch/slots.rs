//! The slots for turns, shared by the dispatchers. They outlive every incarnation of a dispatcher: its successor adopts the slots of the
//! turns that run, so none is lost and none is counted twice. A replaced incarnation can change nothing.
//!
//! The decisions are in `SlotPlan`. A dispatcher takes a slot without a message; one for which a slot became free is notified.

use std::sync::{Arc, Mutex, MutexGuard};

use actix::Message;
use tracing::debug;

use super::plan::{SlotAccess, SlotPlan};
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
    /// `limit` slots for these dispatchers.
    #[must_use]
    pub fn new(limit: usize, dispatchers: Vec<Port<SlotReserved>>) -> Self {
        let state = SlotState { plan: SlotPlan::new(limit, dispatchers.len()), owners: vec![0; dispatchers.len()] };
        Self(Arc::new(SharedSlots { state: Mutex::new(state), dispatchers }))
    }

    /// Makes the incarnation `generation` the only one of `dispatcher` that has access. The slots of its predecessor's turns stay in use
    /// until it has found the turns; a slot that was reserved for the predecessor goes to the next in line.
    pub(super) fn of(&self, dispatcher: usize, generation: u64) -> DispatcherSlots {
        let mut state = self.lock();
        state.owners[dispatcher] = state.owners[dispatcher].max(generation);
        drop(state);
        let mut slots = DispatcherSlots { slots: self.clone(), dispatcher, generation };
        slots.change(SlotPlan::stop_waiting);
        slots
    }

    // Every critical section leaves the plan consistent, so a poisoned lock can be used.
    fn lock(&self) -> MutexGuard<'_, SlotState> {
        locked(&self.0.state)
    }
}

impl Drop for DispatcherSlots {
    /// A slot that is reserved for a dispatcher that has ended goes to the next in line at once, and not when its successor starts.
    fn drop(&mut self) {
        self.change(SlotPlan::stop_waiting);
    }
}

impl SlotAccess for DispatcherSlots {
    fn change<R>(&mut self, change: impl FnOnce(&mut SlotPlan, usize) -> R) -> Option<R> {
        let mut state = self.slots.lock();
        if state.owners[self.dispatcher] != self.generation {
            return None;
        }
        let result = change(&mut state.plan, self.dispatcher);
        let to_notify = state.plan.take_notified();
        drop(state);
        // The caller reads its own reservation from the plan.
        for dispatcher in to_notify.into_iter().filter(|dispatcher| *dispatcher != self.dispatcher) {
            if let Err(error) = self.slots.0.dispatchers[dispatcher].tell(SlotReserved) {
                debug!(dispatcher, %error, "dispatcher not notified of a slot");
            }
        }
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use actix::{Actor, Addr, Context, Handler};

    use super::*;

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
        let slots = Slots::new(limit, vec![Port::from(actor.clone()); 2]);
        let both = [slots.of(0, 1), slots.of(1, 1)];
        (slots, both, count, actor)
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
    async fn the_slots_of_turns_stay_in_use_until_the_next_incarnation_has_found_the_turns() {
        let (slots, [mut before, mut other], ..) = two(2);
        assert_eq!([(); 2].map(|()| take_or_wait(&mut before)), [Some(true); 2]);
        let mut after = slots.of(0, 2);
        assert_eq!(take_or_wait(&mut other), Some(false));
        after.change(|slots, dispatcher| slots.adopt(dispatcher, 1));
        assert_eq!(take_or_wait(&mut other), Some(true), "the other turn has ended meanwhile");
        assert_eq!(take_or_wait(&mut after), Some(false));
    }
}
