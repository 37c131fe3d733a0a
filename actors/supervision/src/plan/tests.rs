//! The decisions of the plan, event by event.

use super::*;
use crate::exit::Fatal;
use crate::policy::{Backoff, RestartPolicy};
use crate::restart::Strategy;
use proptest::prelude::*;

const S: Duration = Duration::from_secs(1);

/// A plan, and the state that its steps would have caused.
struct PlanFixture {
    plan: SupervisorPlan,
    now: Duration,
    keys: Vec<ChildKey>,
}

fn options(id: &str) -> ChildOptions {
    let backoff = Backoff::new(S, 8 * S).expect("the floor is below the ceiling");
    let policy =
        RestartPolicy { max_restarts: 2, backoff, when_exceeded: WhenExceeded::Fail, ..RestartPolicy::default() };
    ChildOptions { id: id.into(), restart: Restart::Permanent, policy, grace: Some(5 * S), ready_within: None }
}

fn crash() -> ExitReason {
    ExitReason::Panic("bug".to_owned())
}

impl PlanFixture {
    /// Three children, none started yet.
    fn idle(strategy: Strategy, change: impl Fn(&mut ChildOptions)) -> Self {
        let mut plan = SupervisorPlan::new(strategy);
        let mut keys = Vec::new();
        for id in ["a", "b", "c"] {
            let mut options = options(id);
            change(&mut options);
            keys.push(plan.add(options));
        }
        Self { plan, now: 100 * S, keys }
    }

    /// Three children, all running.
    fn running(strategy: Strategy, change: impl Fn(&mut ChildOptions)) -> Self {
        let mut fixture = Self::idle(strategy, change);
        fixture.on(SupervisorEvent::Start);
        fixture.all_ready();
        fixture
    }

    fn on(&mut self, event: SupervisorEvent) -> Vec<SupervisorStep> {
        // The longest waits that the backoff allows.
        self.plan.on(event, self.now, 1.0);
        std::iter::from_fn(|| self.plan.next_step()).collect()
    }

    fn all_ready(&mut self) {
        for at in 0..self.plan.children.iter().count() {
            if self.plan.children.nth(at).state == PlanState::Starting {
                let run = self.plan.children.nth(at).run_id();
                self.on(SupervisorEvent::Ready { run });
            }
        }
    }

    fn run(&self, at: usize) -> RunId {
        self.plan.children.nth(at).run_id()
    }

    fn end(&mut self, at: usize, reason: ExitReason) -> Vec<SupervisorStep> {
        let run = self.run(at);
        self.on(SupervisorEvent::Ended { run, reason })
    }

    fn operate(&mut self, at: usize, command: OperatorCommand) -> Vec<SupervisorStep> {
        let key = self.keys[at];
        self.on(SupervisorEvent::Operate { key, command })
    }

    fn states(&self) -> Vec<PlanState> {
        self.plan.children.iter().map(|child| child.state).collect()
    }

    fn launched(&self, steps: &[SupervisorStep]) -> Vec<usize> {
        self.places(steps, |step| match step {
            SupervisorStep::Launch { key, .. } => Some(*key),
            _ => None,
        })
    }

    fn stopped(&self, steps: &[SupervisorStep]) -> Vec<usize> {
        self.places(steps, |step| match step {
            SupervisorStep::Stop { key } => Some(*key),
            _ => None,
        })
    }

    fn places(&self, steps: &[SupervisorStep], key: impl Fn(&SupervisorStep) -> Option<ChildKey>) -> Vec<usize> {
        let place = |key| self.keys.iter().position(|one| *one == key).expect("the child exists");
        steps.iter().filter_map(key).map(place).collect()
    }
}

#[test]
fn children_that_start_together_do_not_wait_for_each_other() {
    let mut fixture = PlanFixture::idle(Strategy::OneForOne, |_| ());
    fixture.plan = fixture.plan.clone().starting_together(true);
    let launched = fixture.on(SupervisorEvent::Start);
    assert_eq!(launched.iter().filter(|step| matches!(step, SupervisorStep::Launch { .. })).count(), 3);
    assert!(!fixture.plan.is_startup_complete());
    fixture.all_ready();
    assert!(fixture.plan.is_startup_complete());
}

#[test]
fn next_child_starts_when_the_one_before_is_ready() {
    let mut fixture = PlanFixture::idle(Strategy::OneForOne, |_| ());
    let steps = fixture.on(SupervisorEvent::Start);
    assert_eq!(fixture.launched(&steps), [0]);
    let run = fixture.run(0);
    let steps = fixture.on(SupervisorEvent::Ready { run });
    assert_eq!(fixture.launched(&steps), [1]);
}

#[test]
fn failed_child_does_not_block_the_start_of_the_next() {
    let mut fixture = PlanFixture::idle(Strategy::OneForOne, |_| ());
    fixture.on(SupervisorEvent::Start);
    let steps = fixture.end(0, ExitReason::Fatal(Fatal { code: "login_needed", detail: String::new() }));
    assert_eq!(fixture.launched(&steps), [1]);
    assert_eq!(fixture.states()[0], PlanState::Failed);
}

#[test]
fn first_crash_restarts_at_once_the_second_waits_and_the_third_fails() {
    let mut fixture = PlanFixture::running(Strategy::OneForOne, |_| ());
    let steps = fixture.end(1, crash());
    assert_eq!(fixture.launched(&steps), [1]);
    let steps = fixture.end(1, crash());
    let timer = ChildTimer::Backoff(fixture.run(1));
    assert_eq!(steps, [SupervisorStep::Wait { key: fixture.keys[1], length: S, timer }]);
    let steps = fixture.on(SupervisorEvent::Due(timer));
    assert_eq!(fixture.launched(&steps), [1]);
    let steps = fixture.end(1, crash());
    assert_eq!(steps, [SupervisorStep::CloseMailbox { key: fixture.keys[1] }]);
    assert_eq!(fixture.states(), [PlanState::Running, PlanState::Failed, PlanState::Running]);
}

#[test]
fn child_that_ran_for_a_healthy_time_starts_the_count_again() {
    let mut fixture = PlanFixture::running(Strategy::OneForOne, |_| ());
    for _ in 0..10 {
        fixture.now += 60 * S;
        let steps = fixture.end(0, crash());
        assert_eq!(fixture.launched(&steps), [0]);
        fixture.all_ready();
    }
}

#[test]
fn exceeded_intensity_stops_the_others_in_reverse_before_it_escalates() {
    let escalate = |options: &mut ChildOptions| {
        options.policy.max_restarts = 0;
        options.policy.when_exceeded = WhenExceeded::Escalate;
    };
    let mut fixture = PlanFixture::running(Strategy::OneForOne, escalate);
    let steps = fixture.end(1, crash());
    assert_eq!(fixture.stopped(&steps), [2]);
    let steps = fixture.end(2, ExitReason::Shutdown);
    assert_eq!(fixture.stopped(&steps), [0]);
    let steps = fixture.end(0, ExitReason::Shutdown);
    let Some(SupervisorStep::Finish { reason, exceeded }) = steps.last() else { panic!("{steps:?}") };
    assert_eq!(reason.word(), "error");
    assert_eq!(*exceeded, Some(Exceeded { id: "b".into(), reason: crash() }));
}

#[test]
fn crash_during_a_group_restart_does_not_count_again() {
    let mut fixture = PlanFixture::running(Strategy::OneForAll, |_| ());
    let steps = fixture.end(1, crash());
    assert_eq!((fixture.launched(&steps), fixture.stopped(&steps)), (vec![], vec![2]));
    // The first panics before its turn to stop, the last while it stops.
    fixture.end(0, crash());
    let steps = fixture.end(2, ExitReason::Unresponsive);
    assert_eq!(fixture.launched(&steps), [0]);
    fixture.all_ready();
    let exceeded: Vec<_> = fixture.plan.children.iter().map(|child| child.intensity.recent().count()).collect();
    assert_eq!(exceeded, [0, 1, 0]);
    assert_eq!(fixture.states(), [PlanState::Running; 3]);
}

#[test]
fn group_restart_waits_for_the_backoff_of_the_one_that_failed() {
    let mut fixture = PlanFixture::running(Strategy::OneForAll, |_| ());
    for _ in 0..2 {
        fixture.end(2, crash());
        fixture.end(1, ExitReason::Shutdown);
        fixture.end(0, ExitReason::Shutdown);
        fixture.all_ready();
    }
    assert_eq!(fixture.states(), [PlanState::Queued, PlanState::Queued, PlanState::Backoff]);
    let steps = fixture.on(SupervisorEvent::Due(ChildTimer::Backoff(fixture.run(2))));
    assert_eq!(fixture.launched(&steps), [0]);
}

#[test]
fn child_stopped_by_an_operator_stays_stopped_through_a_group_restart() {
    let mut fixture = PlanFixture::running(Strategy::OneForAll, |_| ());
    fixture.operate(0, OperatorCommand::Stop);
    fixture.end(0, ExitReason::Shutdown);
    fixture.end(1, crash());
    fixture.end(2, ExitReason::Shutdown);
    fixture.all_ready();
    assert_eq!(fixture.states(), [PlanState::Stopped, PlanState::Running, PlanState::Running]);
}

#[test]
fn child_that_ignores_its_kill_is_abandoned() {
    let mut fixture = PlanFixture::running(Strategy::OneForOne, |_| ());
    fixture.operate(0, OperatorCommand::Restart);
    let run = fixture.run(0);
    let steps = fixture.on(SupervisorEvent::Due(ChildTimer::Grace(run)));
    assert_eq!(steps[0], SupervisorStep::Kill { key: fixture.keys[0] });
    let steps = fixture.on(SupervisorEvent::Due(ChildTimer::Kill(run)));
    assert_eq!(steps[0], SupervisorStep::Abandon { key: fixture.keys[0] });
    assert_eq!(fixture.launched(&steps), [0]);
    assert_eq!(fixture.on(SupervisorEvent::Ended { run, reason: ExitReason::Killed }), [], "its late exit is ignored");
}

#[test]
fn late_child_is_stopped_and_counts_as_failed() {
    let mut fixture = PlanFixture::idle(Strategy::OneForOne, |options| options.ready_within = Some(S));
    fixture.on(SupervisorEvent::Start);
    let run = fixture.run(0);
    let steps = fixture.on(SupervisorEvent::Due(ChildTimer::Late(run)));
    assert_eq!(fixture.stopped(&steps), [0]);
    assert_eq!(fixture.plan.counted_reason(run, ExitReason::Shutdown).word(), "error");
    fixture.end(0, ExitReason::Shutdown);
    assert_eq!(fixture.plan.children.nth(0).intensity.recent().count(), 1);
}

#[test]
fn timer_of_a_superseded_run_is_ignored() {
    let mut fixture = PlanFixture::running(Strategy::OneForOne, |_| ());
    let old = fixture.run(0);
    fixture.operate(0, OperatorCommand::Restart);
    fixture.end(0, ExitReason::Shutdown);
    fixture.operate(0, OperatorCommand::Stop);
    assert_eq!(fixture.on(SupervisorEvent::Due(ChildTimer::Grace(old))), []);
}

#[test]
fn temporary_child_is_removed_after_every_kind_of_exit() {
    for reason in [ExitReason::Normal, crash(), ExitReason::Killed, ExitReason::Unresponsive] {
        let mut fixture = PlanFixture::running(Strategy::OneForOne, |options| options.restart = Restart::Temporary);
        let steps = fixture.end(1, reason);
        assert_eq!(steps.last(), Some(&SupervisorStep::Forget { key: fixture.keys[1] }));
        assert_eq!(fixture.states().len(), 2);
    }
}

#[test]
fn shutdown_ends_a_plan_without_children_at_once() {
    let mut fixture = PlanFixture { plan: SupervisorPlan::new(Strategy::OneForOne), now: 100 * S, keys: Vec::new() };
    let steps = fixture.on(SupervisorEvent::Shutdown);
    assert_eq!(steps, [SupervisorStep::Finish { reason: ExitReason::Shutdown, exceeded: None }]);
}

/// What one more temporary child costs from its start to its removal, beside `running` others: changes of indexes, and steps.
fn cost_of_one_child(running: usize) -> (u64, usize) {
    let mut fixture = PlanFixture { plan: SupervisorPlan::new(Strategy::OneForOne), now: 100 * S, keys: Vec::new() };
    fixture.on(SupervisorEvent::Start);
    let start = |fixture: &mut PlanFixture| {
        fixture.plan.add(ChildOptions { restart: Restart::Temporary, ..options("turn") });
        let steps = fixture.on(SupervisorEvent::Added);
        let [SupervisorStep::Launch { run, .. }] = steps[..] else { panic!("{steps:?}") };
        fixture.on(SupervisorEvent::Ready { run });
        run
    };
    for _ in 0..running {
        start(&mut fixture);
    }
    let before = fixture.plan.children.index_changes();
    let run = start(&mut fixture);
    let steps = fixture.on(SupervisorEvent::Ended { run, reason: ExitReason::Normal });
    (fixture.plan.children.index_changes() - before, steps.len())
}

#[test]
fn one_more_child_costs_the_same_beside_any_number_of_others() {
    let alone = cost_of_one_child(0);
    assert_eq!(alone, (2, 2), "it is queued once; its mailbox is closed and it is removed");
    assert_eq!([cost_of_one_child(64), cost_of_one_child(5_000)], [alone; 2]);
}

fn strategies() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)]
}

proptest! {
    /// After any events in any order, a shutdown completes with one finish and no child left running.
    #[test]
    fn shutdown_always_ends(strategy in strategies(), acts in prop::collection::vec((0_u8..7, 0_usize..3), 0..60)) {
        let mut fixture = PlanFixture::idle(strategy, |options| options.policy.max_restarts = 1_000);
        fixture.on(SupervisorEvent::Start);
        for (act, at) in acts {
            let run = fixture.run(at);
            match act {
                0 => fixture.on(SupervisorEvent::Ready { run }),
                1 => fixture.end(at, crash()),
                2 => fixture.operate(at, OperatorCommand::Restart),
                3 => fixture.operate(at, OperatorCommand::Stop),
                4 => fixture.operate(at, OperatorCommand::Reset),
                5 => fixture.on(SupervisorEvent::Due(ChildTimer::Backoff(run))),
                _ => fixture.on(SupervisorEvent::Due(ChildTimer::Grace(run))),
            };
            let starting_in_order = fixture.plan.children.iter().filter(|c| c.in_sequence && c.state == PlanState::Starting);
            prop_assert!(starting_in_order.count() <= 1, "more than one starts in order at a time");
        }
        let mut finishes = fixture.on(SupervisorEvent::Shutdown).iter().filter(|s| matches!(s, SupervisorStep::Finish { .. })).count();
        for _ in 0..3 {
            for at in (0..3).rev() {
                let steps = fixture.end(at, ExitReason::Shutdown);
                prop_assert!(fixture.launched(&steps).is_empty(), "started during the shutdown");
                finishes += steps.iter().filter(|s| matches!(s, SupervisorStep::Finish { .. })).count();
            }
        }
        prop_assert_eq!(finishes, 1);
        prop_assert!(fixture.plan.children.iter().all(|child| !child.state.is_live()));
    }
}
