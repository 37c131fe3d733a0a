//! Which event runs next.

mod backlog; // Many events that wait, several links, and which is next.
mod beginning; // Events that take a slot while they are recorded.
mod model; // Random events, checked against a simple model.
mod sharing; // Several dispatchers, and the slots that they share.
mod waiting; // How many events wait over each link.
mod withdrawing; // Events that an operator drops or has run again.

use std::collections::BTreeMap;

use super::*;
use crate::exploration::assert_value;
use crate::settings::Busy;
use crate::turn::id::fresh_turn_id;
use caduceus_contract::messages::turn::StopCause;
use caduceus_contract::wire::event::Source;
use caduceus_contract::wire::session::SessionRules;

/// The slots of a single dispatcher.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SoleSlots(SlotPlan);

type TestPlan = DispatchPlan<SoleSlots>;

impl Default for SoleSlots {
    /// None, before the plan sets the limit.
    fn default() -> Self {
        Self(SlotPlan::new(0, 1))
    }
}

impl SlotAccess for SoleSlots {
    fn change<R>(&mut self, change: impl FnOnce(&mut SlotPlan, usize) -> R) -> Option<R> {
        Some(change(&mut self.0, 0))
    }
}

impl<S> DispatchPlan<S> {
    /// Sets back what only counts the past, unless a turn refers to it: plans that decide the same are equal then. `ids` is as at the
    /// start.
    pub(in crate::dispatch) fn forget_past(&mut self, ids: TurnIds) {
        if self.turns.is_empty() {
            (self.ids, self.gate_reports) = (ids, 0);
        }
        self.lines.waiting_mut().take_changed();
    }

    /// Turns of this dispatcher with a slot.
    fn slots_in_use(&self) -> usize {
        self.turns.len()
    }
}

fn session(chat: &str) -> SessionKey {
    let source =
        Source { platform: "discord".into(), chat_type: "dm".into(), chat_id: chat.into(), ..Source::default() };
    SessionKey::new(&source, &ProfileName::default_profile(), SessionRules::default())
}

fn link() -> LinkId {
    LinkId::process()
}

/// A plan whose queues are rebuilt and whose one link is up.
fn plan(busy: Busy, max_turns: usize) -> TestPlan {
    let mut plan = DispatchPlan::new(&values(busy, max_turns), ids(), SoleSlots::default());
    assert_eq!(plan.open(), []);
    assert_eq!(plan.link(&link(), true), []);
    plan
}

fn values(busy: Busy, max_concurrent: usize) -> Values {
    let mut values = Values::default();
    values.sessions.busy = busy;
    values.turns.max_concurrent = max_concurrent;
    values
}

fn ids() -> TurnIds {
    TurnIds::seeded(uuid::Uuid::now_v7())
}

/// Events that wait with the gate open, and for the gate.
fn waiting(plan: &TestPlan) -> (usize, usize) {
    let counts = plan.counts();
    assert_eq!(counts.awaiting_link, BTreeMap::new());
    (counts.queued, counts.held)
}

fn requested(steps: &[DispatchStep]) -> Vec<i64> {
    let row = |step: &DispatchStep| if let DispatchStep::RequestPermit(_, event) = step { Some(event.0) } else { None };
    steps.iter().filter_map(row).collect()
}

fn turn(steps: &[DispatchStep]) -> TurnId {
    let turn = |step: &DispatchStep| if let DispatchStep::RequestPermit(turn, _) = step { Some(*turn) } else { None };
    steps.iter().find_map(turn).expect("a permit was requested")
}

#[test]
fn the_plan_is_a_value() {
    assert_value::<TestPlan>();
}

#[test]
fn a_session_runs_one_event_at_a_time_in_order() {
    let mut plan = plan(Busy::Queue, 8);
    let first = plan.arrived(InboundId(1), &session("a"), &link(), true);
    assert_eq!(requested(&first), [1]);
    assert_eq!(plan.arrived(InboundId(2), &session("a"), &link(), true), []);
    assert_eq!(plan.arrived(InboundId(3), &session("a"), &link(), true), []);
    let second = plan.ended(turn(&first));
    assert_eq!(requested(&second), [2]);
    assert_eq!(requested(&plan.ended(turn(&second))), [3]);
}

#[test]
fn sessions_do_not_wait_for_each_other() {
    let mut plan = plan(Busy::Queue, 8);
    assert_eq!(requested(&plan.arrived(InboundId(1), &session("a"), &link(), true)), [1]);
    assert_eq!(requested(&plan.arrived(InboundId(2), &session("b"), &link(), true)), [2]);
}

#[test]
fn turns_above_the_limit_wait_in_order() {
    let mut plan = plan(Busy::Queue, 1);
    let first = plan.arrived(InboundId(1), &session("a"), &link(), true);
    assert_eq!(plan.arrived(InboundId(2), &session("b"), &link(), true), []);
    assert_eq!(plan.arrived(InboundId(3), &session("c"), &link(), true), []);
    let second = plan.ended(turn(&first));
    assert_eq!(requested(&second), [2]);
    assert_eq!(requested(&plan.ended(turn(&second))), [3]);
}

#[test]
fn a_message_during_a_drain_is_refused_and_a_queued_one_is_held() {
    let mut plan = plan(Busy::Queue, 8);
    let running = plan.arrived(InboundId(1), &session("a"), &link(), true);
    plan.arrived(InboundId(2), &session("a"), &link(), true);
    plan.gate(true, []);
    let fresh = plan.arrived(InboundId(3), &session("b"), &link(), true);
    assert_eq!(plan.refused(turn(&fresh), Refusal::Draining, false), [DispatchStep::Refuse(InboundId(3))]);
    assert_eq!(plan.ended(turn(&running)), []);
    assert_eq!((plan.sessions(), plan.slots_in_use(), waiting(&plan)), (1, 0, (0, 1)));
    assert_eq!(requested(&plan.gate(false, [])), [2]);
}

#[test]
fn a_queued_event_that_the_gate_refuses_before_its_report_is_held_too() {
    let mut plan = plan(Busy::Queue, 8);
    let running = plan.arrived(InboundId(1), &session("a"), &link(), true);
    plan.arrived(InboundId(2), &session("a"), &link(), true);
    let second = plan.ended(turn(&running));
    assert_eq!(plan.refused(turn(&second), Refusal::Draining, false), [DispatchStep::Hold(InboundId(2), false)]);
    assert_eq!(requested(&plan.gate(false, [])), [2]);
}

#[test]
fn a_refusal_after_the_end_of_its_drain_closes_nothing() {
    let mut plan = plan(Busy::Queue, 8);
    let running = plan.arrived(InboundId(1), &session("a"), &link(), true);
    plan.arrived(InboundId(2), &session("a"), &link(), true);
    let second = plan.ended(turn(&running));
    plan.gate(true, []);
    plan.gate(false, []);
    let again = plan.refused(turn(&second), Refusal::Draining, false);
    assert_eq!(requested(&again), [2], "the permit is requested again");
    assert!(plan.is_open(&ProfileName::default_profile()));
    plan.gate(true, []);
    assert_eq!(plan.refused(turn(&again), Refusal::Draining, false), [DispatchStep::Hold(InboundId(2), false)]);
}

#[test]
fn an_event_is_in_the_plan_once() {
    let mut plan = plan(Busy::Queue, 8);
    let first = plan.restored(InboundId(1), &session("a"), &link(), Origin::External);
    assert_eq!(requested(&first), [1]);
    assert_eq!(plan.arrived(InboundId(1), &session("a"), &link(), true), []);
}

#[test]
fn a_session_with_too_much_waiting_overflows() {
    let mut plan = plan(Busy::Queue, 8);
    for row in 1..=33 {
        plan.arrived(InboundId(row), &session("a"), &link(), true);
    }
    assert_eq!(plan.arrived(InboundId(34), &session("a"), &link(), true), [DispatchStep::Overflow(InboundId(34))]);
}

#[test]
fn a_session_that_waits_for_a_slot_or_for_the_gate_overflows_too() {
    let mut plan = plan(Busy::Queue, 1);
    plan.arrived(InboundId(100), &session("b"), &link(), true);
    for row in 1..=32 {
        assert_eq!(plan.arrived(InboundId(row), &session("a"), &link(), true), []);
    }
    assert_eq!(plan.arrived(InboundId(33), &session("a"), &link(), true), [DispatchStep::Overflow(InboundId(33))]);
}

#[test]
fn a_session_that_waits_for_a_slot_rejects_further_messages() {
    let mut plan = plan(Busy::Reject, 1);
    let running = plan.arrived(InboundId(1), &session("b"), &link(), true);
    assert_eq!(plan.arrived(InboundId(2), &session("a"), &link(), true), []);
    assert_eq!(plan.arrived(InboundId(3), &session("a"), &link(), true), [DispatchStep::Busy(InboundId(3))]);
    assert_eq!(requested(&plan.ended(turn(&running))), [2]);
}

#[test]
fn events_that_cannot_be_steered_overflow_like_queued_ones() {
    let mut plan = plan(Busy::Steer, 8);
    plan.arrived(InboundId(100), &session("a"), &link(), true);
    for row in 1..=32 {
        plan.arrived(InboundId(row), &session("a"), &link(), true);
        assert_eq!(plan.not_steered(InboundId(row), &session("a"), &link(), false, false, true), []);
    }
    plan.arrived(InboundId(33), &session("a"), &link(), true);
    assert_eq!(
        plan.not_steered(InboundId(33), &session("a"), &link(), false, false, true),
        [DispatchStep::Overflow(InboundId(33))]
    );
}

#[test]
fn a_steered_event_is_done_when_its_turn_is_and_not_before() {
    let mut plan = plan(Busy::Steer, 8);
    let running = turn(&plan.arrived(InboundId(1), &session("a"), &link(), true));
    plan.arrived(InboundId(2), &session("a"), &link(), true);
    assert!(plan.steered(running, InboundId(2)));
    assert_eq!(
        plan.restored(InboundId(2), &session("a"), &link(), Origin::External),
        [],
        "it does not run beside the turn that it was steered into"
    );
    assert_eq!(plan.take_steered(running), [InboundId(2)]);
    assert_eq!(plan.ended(running), []);
    plan.arrived(InboundId(3), &session("b"), &link(), true);
    assert!(!plan.steered(running, InboundId(3)), "the turn has ended");
}

#[test]
fn busy_settings_decide_what_a_second_message_does() {
    for (busy, expected) in
        [(Busy::Reject, DispatchStep::Busy(InboundId(2))), (Busy::Queue, DispatchStep::Hold(InboundId(0), false))]
    {
        let mut plan = plan(busy, 8);
        plan.arrived(InboundId(1), &session("a"), &link(), true);
        let steps = plan.arrived(InboundId(2), &session("a"), &link(), true);
        assert_eq!(steps.first().copied().unwrap_or(DispatchStep::Hold(InboundId(0), false)), expected, "{busy:?}");
    }
    let mut plan = plan(Busy::Interrupt, 8);
    let first = plan.arrived(InboundId(1), &session("a"), &link(), true);
    assert_eq!(plan.arrived(InboundId(2), &session("a"), &link(), true), [DispatchStep::Interrupt(turn(&first))]);
    plan.gate(true, []);
    assert_eq!(
        plan.arrived(InboundId(3), &session("a"), &link(), true),
        [],
        "no turn is stopped for one that may not start"
    );
}

#[test]
fn a_steered_event_that_is_not_accepted_waits_for_its_turn() {
    let mut plan = plan(Busy::Steer, 8);
    let first = plan.arrived(InboundId(1), &session("a"), &link(), true);
    assert_eq!(
        plan.arrived(InboundId(2), &session("a"), &link(), true),
        [DispatchStep::Steer(turn(&first), InboundId(2), false)]
    );
    plan.gate(true, []);
    assert_eq!(
        plan.not_steered(InboundId(2), &session("a"), &link(), false, false, true),
        [],
        "it was accepted before the drain"
    );
    plan.gate(false, []);
    assert_eq!(requested(&plan.ended(turn(&first))), [2]);
}

#[test]
fn steered_events_that_return_in_another_order_run_in_order_of_arrival() {
    let mut plan = plan(Busy::Steer, 8);
    let first = plan.arrived(InboundId(1), &session("a"), &link(), true);
    for row in 2..=4 {
        plan.arrived(InboundId(row), &session("a"), &link(), true);
    }
    for row in [4, 2, 3] {
        assert_eq!(plan.not_steered(InboundId(row), &session("a"), &link(), false, false, true), []);
    }
    let mut running = turn(&first);
    for row in 2..=4 {
        let steps = plan.ended(running);
        assert_eq!(requested(&steps), [row]);
        running = turn(&steps);
    }
}

#[test]
fn an_adopted_turn_keeps_its_session_busy() {
    let mut plan = plan(Busy::Queue, 8);
    let running = fresh_turn_id();
    plan.adopted(running, InboundId(1), &session("a"), &link());
    assert_eq!(plan.restored(InboundId(2), &session("a"), &link(), Origin::External), []);
    assert_eq!(plan.event_of(running), Some(InboundId(1)));
    assert_eq!(requested(&plan.ended(running)), [2]);
}

#[test]
fn a_permit_refused_by_a_superseded_gate_is_requested_again() {
    let mut plan = plan(Busy::Queue, 8);
    let first = plan.arrived(InboundId(1), &session("a"), &link(), true);
    assert_eq!(requested(&plan.refused(turn(&first), Refusal::Superseded, false)), [1]);
}

#[test]
fn idle_sessions_are_removed() {
    let mut plan = plan(Busy::Queue, 8);
    for row in 0..100 {
        let steps = plan.arrived(InboundId(row), &session(&row.to_string()), &link(), true);
        plan.ended(turn(&steps));
    }
    assert_eq!((plan.sessions(), plan.slots_in_use(), waiting(&plan)), (0, 0, (0, 0)));
}

#[test]
fn held_events_run_in_order_of_arrival_over_all_sessions() {
    for _ in 0..20 {
        let mut plan = plan(Busy::Queue, 1);
        plan.gate(true, []);
        for (row, chat) in [(1, "c"), (2, "a"), (3, "b"), (4, "c"), (5, "d")] {
            let steps = plan.arrived(InboundId(row), &session(chat), &link(), true);
            if !requested(&steps).is_empty() {
                assert_eq!(
                    plan.refused(turn(&steps), Refusal::Draining, true),
                    [DispatchStep::Hold(InboundId(row), true)]
                );
            }
        }
        let mut steps = plan.gate(false, []);
        let mut ran = Vec::new();
        while let [row] = requested(&steps)[..] {
            ran.push(row);
            steps = plan.ended(turn(&steps));
        }
        assert_eq!(ran, [1, 2, 3, 5, 4], "a session that has run moves to the end of the line");
    }
}

#[test]
fn a_drain_admits_events_that_the_gateway_itself_runs_again() {
    let mut plan = plan(Busy::Queue, 8);
    plan.gate(true, []);
    assert_eq!(plan.restored(InboundId(1), &session("a"), &link(), Origin::External), []);
    assert_eq!(requested(&plan.restored(InboundId(2), &session("a"), &link(), Origin::Internal)), [2]);
    assert_eq!((plan.sessions(), plan.slots_in_use(), waiting(&plan)), (1, 1, (0, 1)));
}

#[test]
fn a_steered_event_that_is_not_accepted_during_a_drain_is_treated_like_any_other() {
    for (hold, expected) in
        [(false, DispatchStep::Refuse(InboundId(2))), (true, DispatchStep::Hold(InboundId(2), true))]
    {
        let mut plan = plan(Busy::Steer, 8);
        let first = plan.arrived(InboundId(1), &session("a"), &link(), true);
        plan.gate(true, []);
        assert_eq!(
            plan.arrived(InboundId(2), &session("a"), &link(), true),
            [DispatchStep::Steer(turn(&first), InboundId(2), true)]
        );
        assert_eq!(plan.not_steered(InboundId(2), &session("a"), &link(), true, hold, true), [expected]);
        assert_eq!(plan.ended(turn(&first)), []);
        assert_eq!(requested(&plan.gate(false, [])), if hold { vec![2] } else { vec![] });
    }
}

#[test]
fn a_steered_event_whose_drain_has_ended_waits_for_its_turn() {
    let mut plan = plan(Busy::Steer, 8);
    let first = plan.arrived(InboundId(1), &session("a"), &link(), true);
    plan.gate(true, []);
    plan.arrived(InboundId(2), &session("a"), &link(), true);
    plan.gate(false, []);
    assert_eq!(plan.not_steered(InboundId(2), &session("a"), &link(), true, false, true), []);
    assert_eq!(requested(&plan.ended(turn(&first))), [2]);
}

#[test]
fn a_higher_limit_starts_waiting_turns_and_a_lower_one_stops_none() {
    let mut plan = plan(Busy::Queue, 1);
    let first = plan.arrived(InboundId(1), &session("a"), &link(), true);
    plan.arrived(InboundId(2), &session("b"), &link(), true);
    plan.arrived(InboundId(3), &session("c"), &link(), true);
    assert_eq!(requested(&plan.configure(&values(Busy::Queue, 2))), [2]);
    assert_eq!(plan.configure(&values(Busy::Reject, 1)), []);
    assert_eq!(plan.ended(turn(&first)), [], "one of two still runs");
    assert_eq!(plan.arrived(InboundId(4), &session("b"), &link(), true), [DispatchStep::Busy(InboundId(4))]);
}
