//! Events that an operator drops or has run again.

use super::*;

#[test]
fn a_waiting_event_that_is_withdrawn_does_not_run_and_the_next_one_does() {
    let mut plan = plan(Busy::Queue, 8);
    let first = plan.arrived(InboundId(1), &session("a"), &link(), true);
    for row in [2, 3] {
        assert_eq!(plan.arrived(InboundId(row), &session("a"), &link(), true), []);
    }
    assert_eq!(plan.withdraw(InboundId(2), &session("a")), Withdrawal::Withdrawn);
    assert_eq!(waiting(&plan), (1, 0));
    assert!(!plan.contains(InboundId(2)) && plan.contains(InboundId(3)));
    assert_eq!(requested(&plan.ended(turn(&first))), [3]);
    assert_eq!(plan.withdraw(InboundId(2), &session("a")), Withdrawal::Absent);
}

#[test]
fn an_event_in_a_turn_is_not_withdrawn_also_if_it_was_steered_into_it() {
    let mut plan = plan(Busy::Steer, 8);
    let running = turn(&plan.arrived(InboundId(1), &session("a"), &link(), true));
    plan.arrived(InboundId(2), &session("a"), &link(), true);
    assert_eq!(plan.withdraw(InboundId(2), &session("a")), Withdrawal::BeingSteered);
    assert!(plan.steered(running, InboundId(2)));
    for row in [1, 2] {
        assert_eq!(plan.withdraw(InboundId(row), &session("a")), Withdrawal::InTurn(running));
        assert!(plan.contains(InboundId(row)));
    }
    assert_eq!(plan.withdraw(InboundId(1), &session("b")), Withdrawal::Absent);
}

#[test]
fn the_last_event_of_a_session_leaves_nothing_behind() {
    let mut plan = plan(Busy::Queue, 8);
    plan.gate(true, []);
    assert_eq!(plan.held(InboundId(1), &session("a"), &link()), []);
    assert_eq!((waiting(&plan), plan.sessions()), ((0, 1), 1));
    assert_eq!(plan.withdraw(InboundId(1), &session("a")), Withdrawal::Withdrawn);
    assert_eq!((waiting(&plan), plan.sessions()), ((0, 0), 0));
    assert_eq!(plan.gate(false, []), [], "nothing starts when the drain ends");
    // It may come back.
    assert_eq!(requested(&plan.returned(InboundId(1), &session("a"), &link())), [1]);
}

#[test]
fn an_event_that_runs_again_waits_in_order_of_arrival_and_behind_a_drain() {
    let mut plan = plan(Busy::Queue, 8);
    let first = plan.arrived(InboundId(5), &session("a"), &link(), true);
    plan.arrived(InboundId(7), &session("a"), &link(), true);
    plan.gate(true, []);
    assert_eq!(plan.returned(InboundId(3), &session("a"), &link()), []);
    assert_eq!(plan.ended(turn(&first)), [], "nothing starts during a drain");
    let next = plan.gate(false, []);
    assert_eq!(requested(&next), [3]);
    assert_eq!(requested(&plan.ended(turn(&next))), [7]);
}
