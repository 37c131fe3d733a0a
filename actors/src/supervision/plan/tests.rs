//! What the plan decides, event by event.

use super::*;
use crate::supervision::exit::Fatal;
use crate::supervision::policy::{Backoff, RestartPolicy};
use crate::supervision::spec::Strategy;
use proptest::prelude::*;

const S: Duration = Duration::from_secs(1);

/// A plan and what its steps would have brought about.
struct Bench {
    plan: Plan,
    now: Instant,
    keys: Vec<Key>,
}

fn terms(id: &str) -> Terms {
    let backoff = Backoff::new(S, 8 * S).expect("the floor is below the ceiling");
    let policy = RestartPolicy { max_restarts: 2, backoff, when_spent: WhenSpent::Park, ..RestartPolicy::default() };
    Terms { id: id.to_owned(), restart: Restart::Permanent, policy, grace: Some(5 * S), ready_within: None }
}

fn crash() -> ExitReason {
    ExitReason::Panic("bug".to_owned())
}

impl Bench {
    /// Three children, none started yet.
    fn idle(strategy: Strategy, change: impl Fn(&mut Terms)) -> Self {
        let mut plan = Plan::new(strategy);
        let mut keys = Vec::new();
        for id in ["a", "b", "c"] {
            let mut terms = terms(id);
            change(&mut terms);
            keys.push(plan.add(terms));
        }
        Self { plan, now: Instant::now(), keys }
    }

    /// Three children, all running.
    fn running(strategy: Strategy, change: impl Fn(&mut Terms)) -> Self {
        let mut bench = Self::idle(strategy, change);
        bench.on(Event::Start);
        bench.all_ready();
        bench
    }

    fn on(&mut self, event: Event) -> Vec<Step> {
        // The worst of dice: each wait is as long as it may be.
        self.plan.on(event, self.now, 1.0)
    }

    fn all_ready(&mut self) {
        for at in 0..self.plan.children.len() {
            if self.plan.children[at].state == State::Starting {
                let run = self.plan.children[at].run;
                self.on(Event::Ready { run });
            }
        }
    }

    fn run(&self, at: usize) -> u64 {
        self.plan.children[at].run
    }

    fn end(&mut self, at: usize, reason: ExitReason) -> Vec<Step> {
        let run = self.run(at);
        self.on(Event::Ended { run, reason })
    }

    fn order(&mut self, at: usize, order: Order) -> Vec<Step> {
        let key = self.keys[at];
        self.on(Event::Order { key, order })
    }

    fn states(&self) -> Vec<State> {
        self.plan.children.iter().map(|child| child.state).collect()
    }

    fn launched(&self, steps: &[Step]) -> Vec<usize> {
        self.places(steps, |step| match step {
            Step::Launch { key, .. } => Some(*key),
            _ => None,
        })
    }

    fn stopped(&self, steps: &[Step]) -> Vec<usize> {
        self.places(steps, |step| match step {
            Step::Stop { key } => Some(*key),
            _ => None,
        })
    }

    fn places(&self, steps: &[Step], key: impl Fn(&Step) -> Option<Key>) -> Vec<usize> {
        let place = |key| self.keys.iter().position(|known| *known == key).expect("a known child");
        steps.iter().filter_map(key).map(place).collect()
    }
}

#[test]
fn next_child_starts_when_the_one_before_is_ready() {
    let mut bench = Bench::idle(Strategy::OneForOne, |_| ());
    let steps = bench.on(Event::Start);
    assert_eq!(bench.launched(&steps), [0]);
    let run = bench.run(0);
    let steps = bench.on(Event::Ready { run });
    assert_eq!(bench.launched(&steps), [1]);
}

#[test]
fn parked_child_does_not_hold_up_the_start_of_the_next() {
    let mut bench = Bench::idle(Strategy::OneForOne, |_| ());
    bench.on(Event::Start);
    let steps = bench.end(0, ExitReason::Fatal(Fatal { code: "login_needed", detail: String::new() }));
    assert_eq!(bench.launched(&steps), [1]);
    assert_eq!(bench.states()[0], State::Failed);
}

#[test]
fn first_crash_restarts_at_once_the_second_waits_and_the_third_parks() {
    let mut bench = Bench::running(Strategy::OneForOne, |_| ());
    let steps = bench.end(1, crash());
    assert_eq!(bench.launched(&steps), [1]);
    let steps = bench.end(1, crash());
    let timer = Timer::Backoff(bench.run(1));
    assert_eq!(steps, [Step::Wait { key: bench.keys[1], length: S, timer }]);
    let steps = bench.on(Event::Due(timer));
    assert_eq!(bench.launched(&steps), [1]);
    let steps = bench.end(1, crash());
    assert_eq!(steps, [Step::Drain { key: bench.keys[1] }]);
    assert_eq!(bench.states(), [State::Running, State::Failed, State::Running]);
}

#[test]
fn child_that_ran_healthily_starts_with_a_full_budget() {
    let mut bench = Bench::running(Strategy::OneForOne, |_| ());
    for _ in 0..10 {
        bench.now += 60 * S;
        let steps = bench.end(0, crash());
        assert_eq!(bench.launched(&steps), [0]);
        bench.all_ready();
    }
}

#[test]
fn spent_budget_stops_the_others_in_reverse_before_it_escalates() {
    let escalate = |terms: &mut Terms| {
        terms.policy.max_restarts = 0;
        terms.policy.when_spent = WhenSpent::Escalate;
    };
    let mut bench = Bench::running(Strategy::OneForOne, escalate);
    let steps = bench.end(1, crash());
    assert_eq!(bench.stopped(&steps), [2]);
    let steps = bench.end(2, ExitReason::Asked);
    assert_eq!(bench.stopped(&steps), [0]);
    let steps = bench.end(0, ExitReason::Asked);
    let Some(Step::Finish { reason, spent }) = steps.last() else { panic!("{steps:?}") };
    assert_eq!(reason.word(), "error");
    assert_eq!(*spent, Some(Spent { id: "b".to_owned(), reason: crash() }));
}

#[test]
fn crash_during_a_roll_does_not_count_again() {
    let mut bench = Bench::running(Strategy::OneForAll, |_| ());
    let steps = bench.end(1, crash());
    assert_eq!((bench.launched(&steps), bench.stopped(&steps)), (vec![], vec![2]));
    // The first falls before its turn to stop, the last while it stops.
    bench.end(0, crash());
    let steps = bench.end(2, ExitReason::Wedged);
    assert_eq!(bench.launched(&steps), [0]);
    bench.all_ready();
    let spent: Vec<_> = bench.plan.children.iter().map(|child| child.budget.recent().count()).collect();
    assert_eq!(spent, [0, 1, 0]);
    assert_eq!(bench.states(), [State::Running; 3]);
}

#[test]
fn roll_waits_for_the_backoff_of_the_fallen() {
    let mut bench = Bench::running(Strategy::OneForAll, |_| ());
    for _ in 0..2 {
        bench.end(2, crash());
        bench.end(1, ExitReason::Asked);
        bench.end(0, ExitReason::Asked);
        bench.all_ready();
    }
    assert_eq!(bench.states(), [State::Queued, State::Queued, State::Backoff]);
    let steps = bench.on(Event::Due(Timer::Backoff(bench.run(2))));
    assert_eq!(bench.launched(&steps), [0]);
}

#[test]
fn child_stopped_by_an_operator_stays_down_through_a_roll() {
    let mut bench = Bench::running(Strategy::OneForAll, |_| ());
    bench.order(0, Order::Stop);
    bench.end(0, ExitReason::Asked);
    bench.end(1, crash());
    bench.end(2, ExitReason::Asked);
    bench.all_ready();
    assert_eq!(bench.states(), [State::Down, State::Running, State::Running]);
}

#[test]
fn child_that_ignores_its_kill_is_abandoned() {
    let mut bench = Bench::running(Strategy::OneForOne, |_| ());
    bench.order(0, Order::Restart);
    let run = bench.run(0);
    let steps = bench.on(Event::Due(Timer::Grace(run)));
    assert_eq!(steps[0], Step::Kill { key: bench.keys[0] });
    let steps = bench.on(Event::Due(Timer::Kill(run)));
    assert_eq!(steps[0], Step::Abandon { key: bench.keys[0] });
    assert_eq!(bench.launched(&steps), [0]);
    assert_eq!(bench.on(Event::Ended { run, reason: ExitReason::Killed }), [], "its late end is void");
}

#[test]
fn late_child_is_stopped_and_counts_as_fallen() {
    let mut bench = Bench::idle(Strategy::OneForOne, |terms| terms.ready_within = Some(S));
    bench.on(Event::Start);
    let run = bench.run(0);
    let steps = bench.on(Event::Due(Timer::Late(run)));
    assert_eq!(bench.stopped(&steps), [0]);
    assert_eq!(bench.plan.meaning(run, ExitReason::Asked).word(), "error");
    bench.end(0, ExitReason::Asked);
    assert_eq!(bench.plan.children[0].budget.recent().count(), 1);
}

#[test]
fn timer_of_a_superseded_run_is_void() {
    let mut bench = Bench::running(Strategy::OneForOne, |_| ());
    let old = bench.run(0);
    bench.order(0, Order::Restart);
    bench.end(0, ExitReason::Asked);
    bench.order(0, Order::Stop);
    assert_eq!(bench.on(Event::Due(Timer::Grace(old))), []);
}

#[test]
fn temporary_child_is_forgotten_whatever_its_end() {
    for reason in [ExitReason::Normal, crash(), ExitReason::Killed, ExitReason::Wedged] {
        let mut bench = Bench::running(Strategy::OneForOne, |terms| terms.restart = Restart::Temporary);
        let steps = bench.end(1, reason);
        assert_eq!(steps.last(), Some(&Step::Forget { key: bench.keys[1] }));
        assert_eq!(bench.states().len(), 2);
    }
}

#[test]
fn shutdown_ends_a_plan_without_children_at_once() {
    let steps = Plan::new(Strategy::OneForOne).on(Event::Shutdown, Instant::now(), 0.0);
    assert_eq!(steps, [Step::Finish { reason: ExitReason::Asked, spent: None }]);
}

fn strategies() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)]
}

proptest! {
    /// Whatever happens in whatever order, a shutdown comes to its end, with one finish and nobody left alive.
    #[test]
    fn shutdown_always_ends(strategy in strategies(), acts in prop::collection::vec((0_u8..7, 0_usize..3), 0..60)) {
        let mut bench = Bench::idle(strategy, |terms| terms.policy.max_restarts = 1_000);
        bench.on(Event::Start);
        for (act, at) in acts {
            let run = bench.run(at);
            match act {
                0 => bench.on(Event::Ready { run }),
                1 => bench.end(at, crash()),
                2 => bench.order(at, Order::Restart),
                3 => bench.order(at, Order::Stop),
                4 => bench.order(at, Order::Reset),
                5 => bench.on(Event::Due(Timer::Backoff(run))),
                _ => bench.on(Event::Due(Timer::Grace(run))),
            };
            let starting_in_order = bench.plan.children.iter().filter(|c| c.in_sequence && c.state == State::Starting);
            prop_assert!(starting_in_order.count() <= 1, "more than one starts in order at a time");
        }
        let mut finishes = bench.on(Event::Shutdown).iter().filter(|s| matches!(s, Step::Finish { .. })).count();
        for _ in 0..3 {
            for at in (0..3).rev() {
                let steps = bench.end(at, ExitReason::Asked);
                prop_assert!(bench.launched(&steps).is_empty(), "started during the shutdown");
                finishes += steps.iter().filter(|s| matches!(s, Step::Finish { .. })).count();
            }
        }
        prop_assert_eq!(finishes, 1);
        prop_assert!(bench.plan.children.iter().all(|child| !child.state.is_live()));
    }
}
