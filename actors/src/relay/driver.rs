//! Runs the plan of a link by the clock: what it decides, when its next action is due, who waits for the link to be idle.

use std::time::{Duration, Instant};

use actix::SpawnHandle;
use tokio::sync::oneshot;

use super::plan::LinkPlan;
use super::steps::{At, LinkStep};
use super::timings::LinkTimings;
use crate::clock::Clock;
use caduceus_contract::messages::relay::{IdleAnswer, LinkState, LinkView};
use caduceus_contract::time::millis;

/// The plan of one link, and its clock.
pub(super) struct LinkDriver {
    plan: LinkPlan,
    clock: Clock,
    /// Of the plan's next action.
    timer: Option<SpawnHandle>,
    idle_waiters: Vec<oneshot::Sender<IdleAnswer>>,
    /// A graceful stop has begun: nothing more is decided.
    stopping: bool,
}

/// The decision of the plan.
pub(super) struct Decision {
    pub(super) steps: Vec<LinkStep>,
    /// The state is another one now.
    pub(super) changed: bool,
}

impl LinkDriver {
    pub(super) fn new(timings: LinkTimings) -> Self {
        let clock = Clock::start();
        Self {
            plan: LinkPlan::new(timings, clock.now()),
            clock,
            timer: None,
            idle_waiters: Vec::new(),
            stopping: false,
        }
    }

    /// Lets the plan decide. `last_seen`: when the last frame of the open connection arrived. `None` once the link is stopping.
    pub(super) fn decide(
        &mut self,
        last_seen: Option<(u64, Instant)>,
        decide: impl FnOnce(&mut LinkPlan, At) -> Vec<LinkStep>,
    ) -> Option<Decision> {
        if self.stopping {
            return None;
        }
        if let Some((generation, then)) = last_seen {
            self.plan.received(generation, self.clock.at(then));
        }
        let before = self.plan.state();
        let steps = decide(&mut self.plan, At { now: self.clock.now(), random: fastrand::f64() });
        Some(Decision { steps, changed: self.plan.state() != before })
    }

    /// The time until the plan's next action is due.
    pub(super) fn due_in(&self) -> Option<Duration> {
        self.plan.next_tick().map(|due| due.saturating_sub(self.clock.now()))
    }

    /// Stores the timer of the plan's next action; returns the former one, which is to be cancelled.
    pub(super) fn set_timer(&mut self, timer: Option<SpawnHandle>) -> Option<SpawnHandle> {
        std::mem::replace(&mut self.timer, timer)
    }

    pub(super) fn state(&self) -> LinkState {
        self.plan.state()
    }

    pub(super) fn is_up(&self) -> bool {
        self.plan.is_up()
    }

    /// Whether the link is up over the connection of this generation.
    pub(super) fn is_up_as(&self, generation: u64) -> bool {
        self.plan.is_up() && self.plan.generation() == generation
    }

    pub(super) fn last_error(&self) -> Option<&str> {
        self.plan.last_error()
    }

    /// Adds a request to go idle, and returns its answer.
    pub(super) fn wait_for_idle(&mut self) -> oneshot::Receiver<IdleAnswer> {
        let (waiter, answer) = oneshot::channel();
        self.idle_waiters.push(waiter);
        answer
    }

    /// Answers all requests to go idle.
    pub(super) fn answer_idle(&mut self, answer: IdleAnswer) {
        for waiter in self.idle_waiters.drain(..) {
            // A caller whose timeout has passed has dropped its receiver.
            let _ = waiter.send(answer);
        }
    }

    /// A graceful stop begins; `false` if one has begun already.
    pub(super) fn stop(&mut self) -> bool {
        !std::mem::replace(&mut self.stopping, true)
    }

    /// Writes the state, and since when it holds, into `view`.
    pub(super) fn fill(&self, view: &mut LinkView) {
        let now = self.clock.now();
        view.state = self.plan.state();
        view.state_age_ms = millis(now.saturating_sub(self.plan.since()));
        view.next_dial_ms = self.plan.next_dial().map(|then| millis(then.saturating_sub(now)));
        view.last_error = self.plan.last_error().map(str::to_owned);
    }
}
