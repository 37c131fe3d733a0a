//! Events that take a slot while they are recorded.

use super::*;

/// The turn of an event that starts as soon as it is recorded, with its record answered.
fn begun(plan: &mut TestPlan, row: i64, chat: &str) -> TurnId {
    let turn = plan.offered(&session(chat), &link(), Some).expect("it waits for nothing").0;
    assert!(plan.begun(turn, InboundId(row)));
    turn
}

#[test]
fn an_event_that_waits_for_nothing_has_its_slot_while_it_is_recorded() {
    let mut plan = plan(Busy::Queue, 8);
    let turn = plan.offered(&session("a"), &link(), Some).unwrap().0;
    assert_eq!((plan.slots_in_use(), plan.event_of(turn), plan.turn_in(&session("a"))), (1, None, Some(turn)));
    assert!(plan.begun(turn, InboundId(1)));
    assert_eq!((plan.event_of(turn), plan.contains(InboundId(1))), (Some(InboundId(1)), true));
    assert_eq!(plan.arrived(InboundId(2), &session("a"), &link(), true), []);
    assert_eq!(requested(&plan.ended(turn)), [2]);
}

#[test]
fn an_event_that_waits_for_anything_has_no_slot_while_it_is_recorded() {
    let key = session("a");
    let offered = |plan: &mut TestPlan| plan.offered(&key, &link(), Some);
    let mut closed = plan(Busy::Queue, 8);
    closed.gate(true, []);
    assert_eq!(offered(&mut closed), None, "the gate is closed");
    let mut full = plan(Busy::Queue, 1);
    begun(&mut full, 1, "other");
    assert_eq!(offered(&mut full), None, "no slot is free");
    let mut busy = plan(Busy::Queue, 8);
    begun(&mut busy, 1, "a");
    assert_eq!(offered(&mut busy), None, "the session has a turn");
    let mut unlinked = plan(Busy::Queue, 8);
    assert_eq!(unlinked.offered(&key, &link(), |_| None::<()>), None, "the gate refuses a permit");
    let mut starting = DispatchPlan::new(&values(Busy::Queue, 8), ids(), SoleSlots::default());
    assert_eq!(offered(&mut starting), None, "the queues are not rebuilt");
}

#[test]
fn no_event_overtakes_one_of_its_session_that_is_being_recorded() {
    let mut plan = plan(Busy::Queue, 1);
    let other = begun(&mut plan, 1, "other");
    assert_eq!(plan.offered(&session("a"), &link(), Some), None);
    assert_eq!(plan.ended(other), []);
    assert_eq!(plan.offered(&session("a"), &link(), Some), None, "a slot is free, but the first is not recorded");
    for (row, expected) in [(2, vec![2]), (3, vec![])] {
        plan.recorded(&session("a"), &link());
        assert_eq!(requested(&plan.arrived(InboundId(row), &session("a"), &link(), true)), expected);
    }
}

#[test]
fn an_event_that_is_not_recorded_returns_its_slot() {
    let mut plan = plan(Busy::Queue, 1);
    let turn = plan.offered(&session("a"), &link(), Some).unwrap().0;
    assert_eq!(plan.arrived(InboundId(2), &session("b"), &link(), true), []);
    assert_eq!(requested(&plan.ended(turn)), [2]);
    assert_eq!((plan.sessions(), plan.slots_in_use()), (1, 1));
}

#[test]
fn a_session_of_which_nothing_is_recorded_in_the_end_is_forgotten() {
    let mut plan = plan(Busy::Queue, 8);
    assert_eq!(plan.offered(&session("a"), &link(), |_| None::<()>), None);
    assert_eq!(plan.sessions(), 1);
    plan.recorded(&session("a"), &link());
    assert_eq!(plan.sessions(), 0);
}

#[test]
fn an_event_without_a_permit_waits_for_its_record_and_is_overtaken_by_none() {
    let mut plan = plan(Busy::Queue, 8);
    assert_eq!(plan.offered(&session("a"), &link(), |_| None::<()>), None);
    assert_eq!((plan.slots_in_use(), plan.sessions()), (0, 1));
    assert_eq!(plan.offered(&session("a"), &link(), Some), None);
    for (row, expected) in [(1, vec![1]), (2, vec![])] {
        plan.recorded(&session("a"), &link());
        assert_eq!(requested(&plan.arrived(InboundId(row), &session("a"), &link(), true)), expected);
    }
}

#[test]
fn an_event_whose_turn_never_started_waits_before_later_events_of_its_session() {
    let mut plan = plan(Busy::Queue, 8);
    let turn = begun(&mut plan, 1, "a");
    for row in [2, 3] {
        assert_eq!(plan.arrived(InboundId(row), &session("a"), &link(), true), []);
    }
    plan.drop_turn(turn);
    let steps = plan.returned(InboundId(1), &session("a"), &link());
    assert_eq!(requested(&steps), [1]);
    assert_eq!(plan.returned(InboundId(1), &session("a"), &link()), [], "once");
}

#[test]
fn a_turn_whose_event_is_being_recorded_can_be_stopped() {
    let mut plan = plan(Busy::Queue, 8);
    let turn = plan.offered(&session("a"), &link(), Some).unwrap().0;
    assert_eq!(plan.turns_of(&session("a").text()), [turn]);
    assert!(plan.stop_once_started(turn, StopCause::Interrupt));
    assert!(plan.begun(turn, InboundId(1)));
    assert_eq!(plan.take_pending_stop(turn), Some(StopCause::Interrupt));
}
