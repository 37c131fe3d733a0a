//! Many events that wait, several links and profiles, and which is next.

use super::*;

fn other() -> LinkId {
    LinkId("relay-other".into())
}

fn of(profile: &str, chat: &str) -> SessionKey {
    let source =
        Source { platform: "discord".into(), chat_type: "dm".into(), chat_id: chat.into(), ..Source::default() };
    SessionKey::new(&source, &ProfileName::parse(profile).unwrap(), SessionRules::default())
}

/// Runs everything to its end, one turn after the other. Returns the events in the order in which permits were requested.
fn run_all(plan: &mut TestPlan, first: Vec<DispatchStep>) -> Vec<i64> {
    let (mut steps, mut ran) = (VecDeque::from(first), Vec::new());
    loop {
        while let Some(step) = steps.pop_front() {
            let DispatchStep::RequestPermit(turn, event) = step else { panic!("{step:?}") };
            ran.push(event.0);
            steps.extend(plan.ended(turn));
        }
        let more = plan.start_next();
        if more.is_empty() {
            return ran;
        }
        steps.extend(more);
    }
}

#[test]
fn a_backlog_is_released_in_slices_and_each_event_runs_once() {
    const EVENTS: i64 = 20_000;
    let mut plan = plan(Busy::Queue, usize::MAX);
    plan.gate(true, []);
    for row in 0..EVENTS {
        assert_eq!(plan.held(InboundId(row), &session(&row.to_string()), &link()), []);
    }
    assert_eq!(waiting(&plan), (0, 20_000));
    let mut all = plan.gate(false, []);
    assert_eq!(all.len(), SLICE, "no more than that at once");
    while plan.has_more() {
        let slice = plan.start_next();
        assert!(!slice.is_empty() && slice.len() <= SLICE);
        all.extend(slice);
    }
    assert_eq!(requested(&all), (0..EVENTS).collect::<Vec<_>>());
    assert_eq!(plan.slots_in_use(), 20_000);
}

#[test]
fn a_flood_over_one_link_does_not_hold_up_another_link_or_profile() {
    let mut plan = plan(Busy::Queue, 1);
    plan.link(&other(), true);
    let running = plan.arrived(InboundId(0), &of("flooding", "first"), &other(), true);
    for row in 1..=1_000 {
        plan.arrived(InboundId(row), &of("flooding", &row.to_string()), &other(), true);
    }
    plan.arrived(InboundId(2_000), &of("quiet", "a"), &link(), true);
    plan.arrived(InboundId(2_001), &of("quiet", "b"), &link(), true);
    plan.arrived(InboundId(2_002), &of("other", "c"), &other(), true);
    let ran = run_all(&mut plan, running);
    let when = |row| ran.iter().position(|ran| *ran == row).unwrap();
    assert!(when(2_000) <= 3 && when(2_002) <= 3 && when(2_001) <= 6, "{:?}", &ran[..8]);
    assert_eq!(ran.len(), 1_004);
}

#[test]
fn events_that_wait_for_a_link_run_when_it_is_up_and_delay_no_other() {
    let mut plan = plan(Busy::Queue, 8);
    assert_eq!(plan.restored(InboundId(1), &session("a"), &other(), Origin::External), []);
    assert_eq!(plan.restored(InboundId(2), &session("b"), &other(), Origin::Internal), []);
    assert_eq!(requested(&plan.restored(InboundId(3), &session("c"), &link(), Origin::External)), [3]);
    let counts = plan.counts();
    assert_eq!((counts.queued, counts.held, counts.awaiting_link), (0, 0, BTreeMap::from([(other(), 2)])));
    assert!(!plan.has_more());
    let mut steps = requested(&plan.link(&other(), true));
    steps.sort_unstable();
    assert_eq!(steps, [1, 2]);
}

#[test]
fn a_session_continues_over_a_link_that_is_up_while_an_older_event_waits_for_one_that_is_down() {
    let mut plan = plan(Busy::Queue, 8);
    assert_eq!(plan.restored(InboundId(1), &session("a"), &other(), Origin::External), []);
    let second = plan.arrived(InboundId(2), &session("a"), &link(), true);
    assert_eq!(requested(&second), [2]);
    assert_eq!(plan.link(&other(), true), [], "one turn at a time");
    assert_eq!(requested(&plan.ended(turn(&second))), [1]);
}

#[test]
fn a_session_whose_links_are_both_up_runs_its_events_in_order_of_arrival() {
    let mut plan = plan(Busy::Queue, 1);
    plan.link(&other(), true);
    let running = plan.arrived(InboundId(1), &session("busy"), &link(), true);
    // Over `other` the session is first in line, over the link of the process it is behind.
    plan.arrived(InboundId(2), &session("x"), &link(), true);
    plan.arrived(InboundId(3), &session("a"), &link(), true);
    plan.arrived(InboundId(4), &session("a"), &other(), true);
    let ran = run_all(&mut plan, running);
    let when = |row| ran.iter().position(|ran| *ran == row).unwrap();
    assert!(when(3) < when(4), "{ran:?}");
}

#[test]
fn an_event_without_a_descriptor_waits_for_its_link_and_one_with_it_does_not() {
    let mut plan = DispatchPlan::new(&values(Busy::Queue, 8), ids(), SoleSlots::default());
    plan.open();
    assert_eq!(plan.arrived(InboundId(1), &session("a"), &link(), false), []);
    assert_eq!(requested(&plan.arrived(InboundId(2), &session("b"), &link(), true)), [2]);
    assert_eq!(requested(&plan.link(&link(), true)), [1]);
}

#[test]
fn a_link_that_goes_down_before_a_turn_has_started_puts_its_event_back_in_its_place() {
    let mut plan = plan(Busy::Queue, 8);
    let steps = plan.restored(InboundId(1), &session("a"), &link(), Origin::External);
    plan.restored(InboundId(2), &session("a"), &link(), Origin::External);
    plan.link(&link(), false);
    assert_eq!(plan.no_link(turn(&steps)), []);
    let again = plan.link(&link(), true);
    assert_eq!(requested(&again), [1]);
    assert_eq!(requested(&plan.ended(turn(&again))), [2]);
}

#[test]
fn no_turn_starts_before_all_waiting_events_are_read() {
    let mut plan = DispatchPlan::new(&values(Busy::Queue, 8), ids(), SoleSlots::default());
    plan.link(&link(), true);
    assert_eq!(plan.restored(InboundId(1), &session("a"), &link(), Origin::External), []);
    assert_eq!(plan.gate(false, []), []);
    assert!(!plan.has_more());
    assert_eq!(requested(&plan.open()), [1]);
}

#[test]
fn a_stopping_gate_is_not_asked_again() {
    let mut plan = plan(Busy::Queue, 8);
    let first = plan.restored(InboundId(1), &session("a"), &link(), Origin::Internal);
    assert_eq!(plan.refused(turn(&first), Refusal::Stopping, false), []);
    assert_eq!(plan.restored(InboundId(2), &session("b"), &link(), Origin::Internal), []);
    assert!(!plan.has_more());
}

#[test]
fn a_turn_that_is_to_stop_and_never_started_leaves_nothing_behind() {
    let mut plan = plan(Busy::Queue, 8);
    let steps = plan.arrived(InboundId(1), &session("a"), &link(), true);
    assert!(plan.stop_once_started(turn(&steps), StopCause::Operator));
    assert_eq!(plan.ended(turn(&steps)), [], "the event was already done");
    assert_eq!(plan.take_pending_stop(turn(&steps)), None);
    assert!(!plan.stop_once_started(turn(&steps), StopCause::Operator), "no entry is created for a removed turn");
    assert_eq!((plan.sessions(), plan.slots_in_use(), plan.turns_of(&session("a").text())), (0, 0, Vec::new()));
}
