//! The lock of the slots, with that of the gate inside: in whatever order threads take them, no slot is lost and none is given twice.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use actix::{Actor, Context, Handler};
use shuttle::thread;

use super::*;
use crate::drain::permit::{PermitRequest, TurnPermit};
use crate::sync::explored::explore;
use crate::turn::id::fresh_turn_id;
use caduceus_contract::messages::drain::{Origin, TurnTicket};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::share::DispatchShare;
use caduceus_contract::wire::event::Source;
use caduceus_contract::wire::session::{SessionKey, SessionRules};

const ORDERS: usize = 2_000;
const LIMIT: usize = 2;

/// Whether the dispatcher that ends has a successor, or how the slots are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    WithSuccessor,
    WithoutSuccessor,
    /// The turns that still work are counted before the lock of the slots is taken.
    CountedBefore,
    /// The end of a turn gives its slot back, whether or not its dispatcher does.
    GivenTwice,
}

/// Receives the notifications, which no thread here waits for.
struct Notified;

impl Actor for Notified {
    type Context = Context<Self>;
}

impl Handler<SlotReserved> for Notified {
    type Result = ();

    fn handle(&mut self, _: SlotReserved, _: &mut Self::Context) {}
}

/// A session of the first dispatcher.
fn session() -> SessionKey {
    let profile = ProfileName::default_profile();
    let sessions = (0..100).map(|chat| Source { chat_id: chat.to_string(), ..Source::default() });
    let mut sessions = sessions.map(|source| SessionKey::new(&source, &profile, SessionRules::default()));
    sessions.find(|session| DispatchShare::number_of_session(session, 2) == 0).unwrap()
}

/// The only permit of a new turn in this session.
fn permit(slots: &Slots, session: &SessionKey) -> TurnPermit {
    let ticket = TurnTicket { id: fresh_turn_id(), profile: ProfileName::default_profile(), session: session.clone() };
    let taken = slots.0.gate.take_permits([((), PermitRequest { ticket, origin: Origin::External })]);
    taken.answered.into_iter().next().unwrap().1.unwrap()
}

/// The first dispatcher ends while its two turns end, and its successor finds those that run. The second one takes slots meanwhile.
fn dispatcher_ends(variant: Variant, ports: &[Port<SlotReserved>; 2], session: &SessionKey) {
    let slots = Slots::new(LIMIT, Gate::with_markers_read(2), ports.to_vec());
    if variant == Variant::GivenTwice {
        let shared = Arc::downgrade(&slots.0);
        slots.0.gate.on_work_ended(move |dispatcher| {
            if let Some(shared) = shared.upgrade() {
                Slots(shared).lock().plan.give_back(dispatcher);
            }
        });
    }
    let [mut first, mut other] = [0, 1].map(|dispatcher| slots.of(dispatcher, 1));
    for slots in [&mut first, &mut other] {
        slots.change(|slots, dispatcher| slots.adopt(dispatcher, 0));
    }
    let turns = [(); LIMIT].map(|()| {
        assert_eq!(first.change(SlotPlan::take), Some(true));
        permit(&slots, session)
    });
    let has_ended = [(); LIMIT].map(|()| Arc::<AtomicBool>::default());
    let (at_work, most) = (Arc::new(AtomicUsize::new(LIMIT)), Arc::<AtomicUsize>::default());

    let mut threads = Vec::new();
    for (permit, has_ended) in turns.into_iter().zip(has_ended.clone()) {
        let at_work = Arc::clone(&at_work);
        threads.push(thread::spawn(move || {
            at_work.fetch_sub(1, Ordering::Relaxed);
            drop(permit);
            has_ended.store(true, Ordering::Relaxed);
        }));
    }
    let of_first = slots.clone();
    threads.push(thread::spawn(move || {
        if variant == Variant::CountedBefore {
            let working = of_first.0.gate.working(0);
            first.change(|slots, dispatcher| slots.begin_recovery(dispatcher, working));
            // What the end of a dispatcher does otherwise.
            return std::mem::forget(first);
        }
        drop(first);
        if variant == Variant::WithoutSuccessor {
            return;
        }
        let works = |has_ended: &Arc<AtomicBool>| !has_ended.load(Ordering::Relaxed);
        let mut next = of_first.of(0, 2);
        let found: Vec<_> = has_ended.into_iter().filter(works).collect();
        next.change(|slots, dispatcher| slots.adopt(dispatcher, found.len()));
        for turn in found {
            while works(&turn) {
                thread::yield_now();
            }
            next.change(SlotPlan::give_back);
        }
        // It stays up.
        std::mem::forget(next);
    }));
    let of_other = thread::spawn({
        let most = Arc::clone(&most);
        move || {
            for _ in 0..3 {
                let mut taken = 0;
                while other.change(SlotPlan::take_or_wait) == Some(true) {
                    taken += 1;
                    most.fetch_max(at_work.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                }
                thread::yield_now();
                for _ in 0..taken {
                    at_work.fetch_sub(1, Ordering::Relaxed);
                    other.change(SlotPlan::give_back);
                }
            }
            other.change(SlotPlan::stop_waiting);
            other
        }
    });
    for thread in threads {
        thread.join().unwrap();
    }
    let mut other = of_other.join().unwrap();
    assert!(most.load(Ordering::Relaxed) <= LIMIT, "a slot was given twice");
    assert_eq!(other.change(|slots, _| slots.in_use()), Some(0), "a slot is lost");
    let taken = [(); LIMIT + 1].map(|()| other.change(SlotPlan::take));
    assert_eq!(taken, [Some(true), Some(true), Some(false)]);
}

/// Explores on a system whose actors are not polled meanwhile.
fn explored(variant: Variant) -> bool {
    let ports = [(); 2].map(|()| Port::from(Notified.start()));
    let session = session();
    let name = format!("slots, {variant:?}");
    explore(&name, ORDERS, move || dispatcher_ends(variant, &ports, &session)).is_ok()
}

#[actix::test]
async fn no_slot_is_lost_or_given_twice_in_any_order_of_the_threads() {
    for variant in [Variant::WithSuccessor, Variant::WithoutSuccessor] {
        assert!(explored(variant), "{variant:?}");
    }
}

#[actix::test]
async fn slots_that_are_counted_without_their_lock_or_given_back_twice_are_found() {
    for mutant in [Variant::CountedBefore, Variant::GivenTwice] {
        assert!(!explored(mutant), "{mutant:?} is not found");
    }
}
