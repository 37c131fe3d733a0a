//! How many events wait over each link.

use super::*;

fn other() -> LinkId {
    LinkId("relay-other".into())
}

/// Events that wait over the first link and over the other.
fn over(plan: &TestPlan) -> (usize, usize) {
    (plan.waiting_over(&link()), plan.waiting_over(&other()))
}

#[test]
fn running_and_steered_events_do_not_wait_and_those_behind_them_do() {
    let mut plan = plan(Busy::Steer, 1);
    let running = turn(&plan.arrived(InboundId(1), &session("a"), &link(), true));
    plan.arrived(InboundId(2), &session("a"), &link(), true);
    assert!(plan.steered(running, InboundId(2)));
    assert_eq!(over(&plan), (0, 0));
    assert_eq!(plan.arrived(InboundId(3), &session("b"), &link(), true), []);
    assert_eq!(plan.restored(InboundId(4), &session("c"), &other(), Origin::External), []);
    assert_eq!(over(&plan), (1, 1));
    assert_eq!(plan.take_changed_links(), [link(), other()].into());
    let next = plan.ended(running);
    assert_eq!((requested(&next), over(&plan)), (vec![3], (0, 1)), "that of the other link waits on: it is down");
    assert_eq!(plan.take_changed_links(), [link()].into());
    assert_eq!(plan.take_changed_links(), BTreeSet::new());
}

#[test]
fn events_that_are_held_or_wait_for_their_link_or_are_put_back_wait() {
    let mut plan = plan(Busy::Queue, 8);
    plan.gate(true, []);
    plan.held(InboundId(1), &session("a"), &link());
    plan.held(InboundId(2), &session("a"), &link());
    assert_eq!(over(&plan), (2, 0));
    let running = turn(&plan.gate(false, []));
    assert_eq!(over(&plan), (1, 0));
    plan.no_link(running);
    plan.link(&link(), false);
    assert_eq!(over(&plan), (1, 0), "it was started again");
    assert_eq!(plan.withdraw(InboundId(2), &session("a")), Withdrawal::Withdrawn);
    assert_eq!(over(&plan), (0, 0));
}

#[test]
fn an_event_that_is_being_recorded_waits_unless_its_turn_begins_with_it() {
    let mut plan = plan(Busy::Queue, 1);
    let running = plan.offered(&session("a"), &link(), Some).unwrap().0;
    assert_eq!(over(&plan), (0, 0));
    assert_eq!(plan.offered(&session("a"), &link(), Some), None);
    assert_eq!(plan.offered(&session("b"), &other(), Some), None);
    assert_eq!(over(&plan), (1, 1));
    plan.recorded(&session("a"), &link());
    assert_eq!(over(&plan), (0, 1), "refused, or not recorded");
    plan.recorded(&session("b"), &other());
    plan.arrived(InboundId(2), &session("b"), &other(), true);
    assert_eq!(over(&plan), (0, 1));
    plan.recorded(&session("b"), &other());
    assert_eq!(over(&plan), (0, 1), "none is being recorded");
    plan.link(&other(), true);
    assert_eq!((requested(&plan.ended(running)), over(&plan)), (vec![2], (0, 0)));
}

#[test]
fn an_event_of_a_full_link_that_is_not_steered_is_refused_and_none_overtakes_it() {
    let mut plan = plan(Busy::Steer, 8);
    let running = turn(&plan.arrived(InboundId(1), &session("a"), &link(), true));
    for row in [2, 3] {
        plan.arrived(InboundId(row), &session("a"), &link(), true);
    }
    let refused = plan.not_steered(InboundId(2), &session("a"), &link(), false, false, false);
    assert_eq!(refused, [DispatchStep::LinkFull(InboundId(2))]);
    assert!(!plan.contains(InboundId(2)));
    assert_eq!(plan.not_steered(InboundId(3), &session("a"), &link(), false, false, true), []);
    assert_eq!((over(&plan), requested(&plan.ended(running))), ((1, 0), vec![3]));
}
