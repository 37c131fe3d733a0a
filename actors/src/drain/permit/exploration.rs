//! The lock of the gate: in whatever order threads take it, no permit is given after the answer of a drain, nor by an owner that was replaced.

use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::thread;

use super::super::plan::ActiveDrain;
use super::*;
use crate::sync::explored::explore;
use crate::turn::id::fresh_turn_id;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::event::Source;
use caduceus_contract::wire::session::{SessionKey, SessionRules};

const ORDERS: usize = 3_000;
/// The first owner of the gate, and its successor.
const OWNERS: [u64; 2] = [1, 2];

/// How permits are given. A mutant does it in two steps.
#[derive(Clone, Copy)]
struct Admission {
    /// To a dispatcher.
    take: fn(&Gate, TurnTicket) -> Option<TurnPermit>,
    /// By the first owner.
    admit: fn(&Gate, TurnTicket) -> Option<TurnPermit>,
}

const REAL: Admission = Admission {
    take: |gate, ticket| {
        let taken = gate.take_permits([((), PermitRequest { ticket, origin: Origin::External })]);
        taken.answered.into_iter().next()?.1.ok()
    },
    admit: |gate, ticket| gate.admit(OWNERS[0], ticket, Origin::External).ok(),
};

fn ticket() -> TurnTicket {
    let profile = ProfileName::default_profile();
    let session = SessionKey::new(&Source::default(), &profile, SessionRules::default());
    TurnTicket { id: fresh_turn_id(), profile, session }
}

fn drain() -> ActiveDrain {
    ActiveDrain {
        since: Duration::ZERO,
        requested_at: None,
        principal: None,
        suppressed: false,
        deadline: None,
        requesters: BTreeSet::new(),
        durable: false,
        order: 0,
    }
}

fn count(calls: &AtomicUsize) {
    calls.fetch_add(1, Ordering::Relaxed);
}

fn turns(gate: &Gate) -> BTreeSet<TurnId> {
    gate.turns().into_iter().map(|turn| turn.ticket.id).collect()
}

/// Two dispatchers take permits, while a drain begins, and while another owner replaces the first one, which still admits turns.
fn drain_begins(admission: Admission) {
    let gate = Gate::of_dispatchers(2);
    let released = [(); 2].map(|()| Arc::<AtomicUsize>::default());
    let by_first_owner = Arc::clone(&released[0]);
    gate.adopt(OWNERS[0], move || count(&by_first_owner));
    gate.set_unread(OWNERS[0], BTreeSet::new());

    let of = |gate: &Gate| gate.clone();
    let dispatchers = [(); 2].map(|()| {
        let gate = of(&gate);
        thread::spawn(move || (0..3).filter_map(|_| (admission.take)(&gate, ticket())).collect::<Vec<_>>())
    });
    let answer = {
        let gate = of(&gate);
        thread::spawn(move || {
            let begun = gate.change(OWNERS[0], |plan| plan.begin(DrainScope::Gateway, drain()));
            begun.map(|()| turns(&gate))
        })
    };
    let by_first = {
        let gate = of(&gate);
        thread::spawn(move || (admission.admit)(&gate, ticket()))
    };
    let found = {
        let (gate, released) = (of(&gate), Arc::clone(&released[1]));
        thread::spawn(move || {
            gate.adopt(OWNERS[1], move || count(&released));
            turns(&gate)
        })
    };

    let mut held: Vec<TurnPermit> = dispatchers.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let (answer, by_first, found) = (answer.join().unwrap(), by_first.join().unwrap(), found.join().unwrap());
    if let Some(permit) = &by_first {
        assert!(found.contains(&permit.turn()), "a permit of an owner that was replaced");
    }
    held.extend(by_first);
    if let Some(answer) = answer {
        assert!(held.iter().all(|permit| answer.contains(&permit.turn())), "a permit after the answer of the drain");
        gate.set_unread(OWNERS[1], BTreeSet::new());
        assert!((admission.take)(&gate, ticket()).is_none(), "the drain is in force for the next owner");
    }
    assert_eq!(gate.count(), held.len());
    let number = held.len();
    drop(held);
    assert_eq!((gate.count(), released[1].load(Ordering::Relaxed)), (0, number), "each reported to the present owner");
    assert_eq!(released[0].load(Ordering::Relaxed), 0);
}

#[test]
fn no_permit_follows_the_answer_of_a_drain_in_any_order_of_the_threads() {
    explore("gate", ORDERS, || drain_begins(REAL)).expect("every order is right");
}

/// The second half of a mutant: the turn enters, whatever the plan says by now.
fn enter(gate: &Gate, ticket: TurnTicket) -> TurnPermit {
    let (turn, since) = (ticket.id, gate.clock.now());
    let entry = GateEntry { ticket, since, stop: None, incarnation: None, has_ended: false };
    gate.lock().turns.insert(turn, entry);
    TurnPermit { gate: gate.clone(), turn }
}

#[test]
fn a_gate_that_checks_its_plan_or_its_owner_before_it_takes_the_lock_is_found() {
    let checks_first = Admission {
        take: |gate, ticket| {
            let is_unread = gate.lock().unread.is_none();
            let is_open = !is_unread && gate.read(|plan| plan.admit(&ticket.profile, Origin::External)).is_ok();
            is_open.then(|| enter(gate, ticket))
        },
        ..REAL
    };
    let owned_before = Admission {
        admit: |gate, ticket| {
            let is_owner = gate.lock().owner == OWNERS[0];
            let is_open = is_owner && gate.read(|plan| plan.admit(&ticket.profile, Origin::External)).is_ok();
            is_open.then(|| enter(gate, ticket))
        },
        ..REAL
    };
    for (name, mutant) in [("gate, plan checked before", checks_first), ("gate, owner checked before", owned_before)] {
        explore(name, ORDERS, move || drain_begins(mutant)).expect_err(name);
    }
}
