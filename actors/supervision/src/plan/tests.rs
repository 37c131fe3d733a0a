//! What the plan decides, event by event.

use super::*;
use crate::exit::Fatal;
use crate::policy::{Backoff, RestartPolicy};
use crate::restart::Strategy;
use proptest::prelude::*;

const S: Duration = Duration::from_secs(1);

/// A plan, and the state that its steps would have caused.
struct Bench {
    plan: SupervisorPlan,
    now: Duration,
    keys: Vec<ChildKey>,
}

fn options(id: &str) -> ChildOptions {
    let backoff = Backoff::new(S, 8 * S).expect("the floor is below the ceiling");
    let policy =
        RestartPolicy { max_restarts: 2, backoff, when_exceeded: WhenExceeded::Fail, ..RestartPolicy::default() };
    ChildOptions { id: id.to_owned(), restart: Restart::Permanent, policy, grace: Some(5 * S), ready_within: None }
}

fn crash() -> ExitReason {
    ExitReason::Panic("bug".to_owned())
}

impl Bench {
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
        let mut bench = Self::idle(strategy, change);
        bench.on(SupervisorEvent::Start);
        bench.all_ready();
        bench
    }

    fn on(&mut self, event: SupervisorEvent) -> Vec<SupervisorStep> {
        // The longest waits that the backoff allows.
        self.plan.on(event, self.now, 1.0)
    }

    fn all_ready(&mut self) {
        for at in 0..self.plan.children.len() {
            if self.plan.children[at].state == PlanState::Starting {
                let run = self.plan.children[at].run;
                self.on(SupervisorEvent::Ready { run });
            }
        }
    }

    fn run(&self, at: usize) -> u64 {
        self.plan.children[at].run
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
fn next_child_starts_when_the_one_before_is_ready() {
    let mut bench = Bench::idle(Strategy::OneForOne, |_| ());
    let steps = bench.on(SupervisorEvent::Start);
    assert_eq!(bench.launched(&steps), [0]);
    let run = bench.run(0);
    let steps = bench.on(SupervisorEvent::Ready { run });
    assert_eq!(bench.launched(&steps), [1]);
}

#[test]
fn failed_child_does_not_block_the_start_of_the_next() {
    let mut bench = Bench::idle(Strategy::OneForOne, |_| ());
    bench.on(SupervisorEvent::Start);
    let steps = bench.end(0, ExitReason::Fatal(Fatal { code: "login_needed", detail: String::new() }));
    assert_eq!(bench.launched(&steps), [1]);
    assert_eq!(bench.states()[0], PlanState::Failed);
}

#[test]
fn first_crash_restarts_at_once_the_second_waits_and_the_third_fails() {
    let mut bench = Bench::running(Strategy::OneForOne, |_| ());
    let steps = bench.end(1, crash());
    assert_eq!(bench.launched(&steps), [1]);
    let steps = bench.end(1, crash());
    let timer = ChildTimer::Backoff(bench.run(1));
    assert_eq!(steps, [SupervisorStep::Wait { key: bench.keys[1], length: S, timer }]);
    let steps = bench.on(SupervisorEvent::Due(timer));
    assert_eq!(bench.launched(&steps), [1]);
    let steps = bench.end(1, crash());
    assert_eq!(steps, [SupervisorStep::Drain { key: bench.keys[1] }]);
    assert_eq!(bench.states(), [PlanState::Running, PlanState::Failed, PlanState::Running]);
}

#[test]
fn child_that_ran_for_a_healthy_time_starts_the_count_again() {
    let mut bench = Bench::running(Strategy::OneForOne, |_| ());
    for _ in 0..10 {
        bench.now += 60 * S;
        let steps = bench.end(0, crash());
        assert_eq!(bench.launched(&steps), [0]);
        bench.all_ready();
    }
}

#[test]
fn exceeded_intensity_stops_the_others_in_reverse_before_it_escalates() {
    let escalate = |options: &mut ChildOptions| {
        options.policy.max_restarts = 0;
        options.policy.when_exceeded = WhenExceeded::Escalate;
    };
    let mut bench = Bench::running(Strategy::OneForOne, escalate);
    let steps = bench.end(1, crash());
    assert_eq!(bench.stopped(&steps), [2]);
    let steps = bench.end(2, ExitReason::Asked);
    assert_eq!(bench.stopped(&steps), [0]);
    let steps = bench.end(0, ExitReason::Asked);
    let Some(SupervisorStep::Finish { reason, exceeded }) = steps.last() else { panic!("{steps:?}") };
    assert_eq!(reason.word(), "error");
    assert_eq!(*exceeded, Some(Exceeded { id: "b".to_owned(), reason: crash() }));
}

#[test]
fn crash_during_a_group_restart_does_not_count_again() {
    let mut bench = Bench::running(Strategy::OneForAll, |_| ());
    let steps = bench.end(1, crash());
    assert_eq!((bench.launched(&steps), bench.stopped(&steps)), (vec![], vec![2]));
    // The first panics before its turn to stop, the last while it stops.
    bench.end(0, crash());
    let steps = bench.end(2, ExitReason::Unresponsive);
    assert_eq!(bench.launched(&steps), [0]);
    bench.all_ready();
    let exceeded: Vec<_> = bench.plan.children.iter().map(|child| child.intensity.recent().count()).collect();
    assert_eq!(exceeded, [0, 1, 0]);
    assert_eq!(bench.states(), [PlanState::Running; 3]);
}

#[test]
fn group_restart_waits_for_the_backoff_of_the_one_that_failed() {
    let mut bench = Bench::running(Strategy::OneForAll, |_| ());
    for _ in 0..2 {
        bench.end(2, crash());
        bench.end(1, ExitReason::Asked);
        bench.end(0, ExitReason::Asked);
        bench.all_ready();
    }
    assert_eq!(bench.states(), [PlanState::Queued, PlanState::Queued, PlanState::Backoff]);
    let steps = bench.on(SupervisorEvent::Due(ChildTimer::Backoff(bench.run(2))));
    assert_eq!(bench.launched(&steps), [0]);
}

#[test]
fn child_stopped_by_an_operator_stays_stopped_through_a_group_restart() {
    let mut bench = Bench::running(Strategy::OneForAll, |_| ());
    bench.operate(0, OperatorCommand::Stop);
    bench.end(0, ExitReason::Asked);
    bench.end(1, crash());
    bench.end(2, ExitReason::Asked);
    bench.all_ready();
    assert_eq!(bench.states(), [PlanState::Stopped, PlanState::Running, PlanState::Running]);
}

#[test]
fn child_that_ignores_its_kill_is_abandoned() {
    let mut bench = Bench::running(Strategy::OneForOne, |_| ());
    bench.operate(0, OperatorCommand::Restart);
    let run = bench.run(0);
    let steps = bench.on(SupervisorEvent::Due(ChildTimer::Grace(run)));
    assert_eq!(steps[0], SupervisorStep::Kill { key: bench.keys[0] });
    let steps = bench.on(SupervisorEvent::Due(ChildTimer::Kill(run)));
    assert_eq!(steps[0], SupervisorStep::Abandon { key: bench.keys[0] });
    assert_eq!(bench.launched(&steps), [0]);
    assert_eq!(bench.on(SupervisorEvent::Ended { run, reason: ExitReason::Killed }), [], "its late exit is ignored");
}

#[test]
fn late_child_is_stopped_and_counts_as_failed() {
    let mut bench = Bench::idle(Strategy::OneForOne, |options| options.ready_within = Some(S));
    bench.on(SupervisorEvent::Start);
    let run = bench.run(0);
    let steps = bench.on(SupervisorEvent::Due(ChildTimer::Late(run)));
    assert_eq!(bench.stopped(&steps), [0]);
    assert_eq!(bench.plan.counted_reason(run, ExitReason::Asked).word(), "error");
    bench.end(0, ExitReason::Asked);
    assert_eq!(bench.plan.children[0].intensity.recent().count(), 1);
}

#[test]
fn timer_of_a_superseded_run_is_ignored() {
    let mut bench = Bench::running(Strategy::OneForOne, |_| ());
    let old = bench.run(0);
    bench.operate(0, OperatorCommand::Restart);
    bench.end(0, ExitReason::Asked);
    bench.operate(0, OperatorCommand::Stop);
    assert_eq!(bench.on(SupervisorEvent::Due(ChildTimer::Grace(old))), []);
}

#[test]
fn temporary_child_is_removed_after_every_kind_of_exit() {
    for reason in [ExitReason::Normal, crash(), ExitReason::Killed, ExitReason::Unresponsive] {
        let mut bench = Bench::running(Strategy::OneForOne, |options| options.restart = Restart::Temporary);
        let steps = bench.end(1, reason);
        assert_eq!(steps.last(), Some(&SupervisorStep::Forget { key: bench.keys[1] }));
        assert_eq!(bench.states().len(), 2);
    }
}

#[test]
fn shutdown_ends_a_plan_without_children_at_once() {
    let steps = SupervisorPlan::new(Strategy::OneForOne).on(SupervisorEvent::Shutdown, 100 * S, 0.0);
    assert_eq!(steps, [SupervisorStep::Finish { reason: ExitReason::Asked, exceeded: None }]);
}

fn strategies() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)]
}

proptest! {
    /// After any events in any order, a shutdown completes with one finish and no child left running.
    #[test]
    fn shutdown_always_ends(strategy in strategies(), acts in prop::collection::vec((0_u8..7, 0_usize..3), 0..60)) {
        let mut bench = Bench::idle(strategy, |options| options.policy.max_restarts = 1_000);
        bench.on(SupervisorEvent::Start);
        for (act, at) in acts {
            let run = bench.run(at);
            match act {
                0 => bench.on(SupervisorEvent::Ready { run }),
                1 => bench.end(at, crash()),
                2 => bench.operate(at, OperatorCommand::Restart),
                3 => bench.operate(at, OperatorCommand::Stop),
                4 => bench.operate(at, OperatorCommand::Reset),
                5 => bench.on(SupervisorEvent::Due(ChildTimer::Backoff(run))),
                _ => bench.on(SupervisorEvent::Due(ChildTimer::Grace(run))),
            };
            let starting_in_order = bench.plan.children.iter().filter(|c| c.in_sequence && c.state == PlanState::Starting);
            prop_assert!(starting_in_order.count() <= 1, "more than one starts in order at a time");
        }
        let mut finishes = bench.on(SupervisorEvent::Shutdown).iter().filter(|s| matches!(s, SupervisorStep::Finish { .. })).count();
        for _ in 0..3 {
            for at in (0..3).rev() {
                let steps = bench.end(at, ExitReason::Asked);
                prop_assert!(bench.launched(&steps).is_empty(), "started during the shutdown");
                finishes += steps.iter().filter(|s| matches!(s, SupervisorStep::Finish { .. })).count();
            }
        }
        prop_assert_eq!(finishes, 1);
        prop_assert!(bench.plan.children.iter().all(|child| !child.state.is_live()));
    }
}
