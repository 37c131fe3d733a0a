//! The decisions of a supervisor: takes an event and returns steps. No actors, no clock, no random source.
//!
//! Children start in order, each once those before it are ready, and stop in reverse, one at a time. A *group restart*
//! is the stop and start of several children because one of them failed; exits of its members do not count.

mod child_slots; // Values by the key of a child.
mod children; // The children, and the indexes over them.
mod planned_child; // The state of one child.
mod timers; // The timers of children.
mod types; // Events, steps and states.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::exit::ExitReason;
use crate::messages::OperatorCommand;
use crate::policy::{IntensityDecision, WhenExceeded};
use crate::restart::{Restart, Strategy};

use children::PlannedChildren;
use planned_child::PlannedChild;

pub(crate) use child_slots::{ChildKey, ChildKeys, ChildSlots};
pub(crate) use types::{
    AfterStop, ChildOptions, ChildTimer, Exceeded, PlanState, RunId, SupervisorEvent, SupervisorStep,
};

/// The decisions of one supervisor. `now` and the times in it are on one monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SupervisorPlan {
    strategy: Strategy,
    /// Children that start in order do not wait for each other.
    together: bool,
    children: PlannedChildren,
    closing: Option<Closing>,
    finished: bool,
    /// The last number given to a key or a run.
    next: u64,
    steps: VecDeque<SupervisorStep>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Closing {
    reason: ExitReason,
    exceeded: Option<Exceeded>,
    /// The children to stop, the next one last. None is started any more.
    live: Vec<ChildKey>,
}

impl SupervisorPlan {
    pub(crate) fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            together: false,
            children: PlannedChildren::default(),
            closing: None,
            finished: false,
            next: 0,
            steps: VecDeque::new(),
        }
    }

    /// Whether the children start without waiting for each other.
    pub(crate) fn starting_together(mut self, together: bool) -> Self {
        self.together = together;
        self
    }

    /// Adds a child at the end of the order; the next event starts it. One added before [`SupervisorEvent::Start`] waits
    /// for those before it.
    pub(crate) fn add(&mut self, options: ChildOptions) -> ChildKey {
        let number = self.next_number();
        self.children.add(number, options)
    }

    /// Handles an event. The steps that follow are taken by [`SupervisorPlan::next_step`].
    pub(crate) fn on(&mut self, event: SupervisorEvent, now: Duration, random: f64) {
        match event {
            SupervisorEvent::Start => {
                for key in self.children.keys() {
                    self.children.update(key, |child| child.in_sequence = true);
                }
            }
            SupervisorEvent::Added => {}
            SupervisorEvent::Ready { run } => self.ready(run, now),
            SupervisorEvent::Ended { run, reason } => {
                if let Some(key) = self.children.of_live_run(run) {
                    self.ended(key, reason, now, random);
                }
            }
            SupervisorEvent::Due(timer) => self.due(timer, now, random),
            SupervisorEvent::Operate { key, command } => self.operate(key, command),
            SupervisorEvent::Remove { key } => {
                self.children.update(key, |child| child.options.restart = Restart::Temporary);
                self.operate(key, OperatorCommand::Stop);
            }
            SupervisorEvent::Shutdown => self.begin_shutdown(ExitReason::Shutdown, None),
        }
        self.advance();
    }

    /// The next step to carry out.
    pub(crate) fn next_step(&mut self) -> Option<SupervisorStep> {
        self.steps.pop_front()
    }

    /// The child whose current incarnation is `run`.
    pub(crate) fn key_of(&self, run: RunId) -> Option<ChildKey> {
        self.children.of_live_run(run)
    }

    /// The exit reason of `run` that counts: a child that was stopped because it was not ready in time ended in error.
    pub(crate) fn counted_reason(&self, run: RunId, reason: ExitReason) -> ExitReason {
        match self.children.of_live_run(run).and_then(|key| self.state(key)) {
            Some(PlanState::Stopping(AfterStop::FailLate)) => ExitReason::Error("not ready in time".to_owned()),
            _ => reason,
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether the start in order is complete.
    pub(crate) fn is_startup_complete(&self) -> bool {
        self.children.first_in_sequence().is_none()
    }

    /// A child that has changed since it was last returned; `None` once there is none left.
    pub(crate) fn next_changed(&mut self) -> Option<&PlannedChild> {
        self.children.next_changed()
    }

    fn ready(&mut self, run: RunId, now: Duration) {
        let Some(key) = self.children.of_live_run(run) else { return };
        self.children.update(key, |child| {
            if child.state == PlanState::Starting {
                child.enter(PlanState::Running);
                child.ready_at = Some(now);
                child.in_sequence = false;
            }
        });
    }

    fn ended(&mut self, key: ChildKey, reason: ExitReason, now: Duration, random: f64) {
        let Some(child) = self.children.get(key) else { return };
        let (state, restart, grouped) = (child.state, child.options.restart, child.group_restart);
        let ran_for = child.ready_at.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        self.children.update(key, |child| {
            child.group_restart = false;
            child.ready_at = None;
        });
        if self.closing.is_some() || state == PlanState::Stopping(AfterStop::Stay) {
            return self.stay_stopped(key);
        }
        match (state, grouped) {
            (_, true) if restart == Restart::Temporary => self.stay_stopped(key),
            (_, true) if !matches!(reason, ExitReason::Fatal(_)) => self.children.update(key, |child| {
                child.in_sequence = true;
                child.enter(PlanState::Queued);
            }),
            (PlanState::Stopping(AfterStop::Restart), _) if !matches!(reason, ExitReason::Fatal(_)) => {
                self.enter(key, PlanState::Queued);
            }
            _ => self.decide_restart(key, reason, ran_for, now, random),
        }
    }

    /// Decides whether a child that ended by itself is restarted.
    fn decide_restart(&mut self, key: ChildKey, reason: ExitReason, ran_for: Duration, now: Duration, random: f64) {
        let Some(restart) = self.children.get(key).map(|child| child.options.restart) else { return };
        if restart == Restart::Temporary {
            return self.stay_stopped(key);
        }
        match reason {
            ExitReason::Normal | ExitReason::Shutdown if restart == Restart::Transient => self.stay_stopped(key),
            ExitReason::Normal
            | ExitReason::Shutdown
            | ExitReason::Panic(_)
            | ExitReason::Error(_)
            | ExitReason::Killed
            | ExitReason::Unresponsive => self.restart(key, reason, ran_for, now, random),
            ExitReason::Fatal(_) => self.end_without_restart(key, PlanState::Failed),
        }
    }

    /// Restarts a failed child, as its restart intensity and the strategy allow.
    fn restart(&mut self, key: ChildKey, reason: ExitReason, ran_for: Duration, now: Duration, random: f64) {
        let mut decision = IntensityDecision::Exceeded;
        self.children.update(key, |child| decision = child.intensity.count(ran_for, now, random));
        match decision {
            IntensityDecision::RestartAfter(Duration::ZERO) => self.enter(key, PlanState::Queued),
            IntensityDecision::RestartAfter(length) => {
                self.children.update(key, |child| {
                    child.enter(PlanState::Backoff);
                    child.due = Some(now + length);
                });
                self.wait(key, length, ChildTimer::Backoff);
            }
            IntensityDecision::Exceeded => return self.give_up(key, reason),
        }
        self.restart_group(key);
    }

    /// A child exceeded its restart intensity.
    fn give_up(&mut self, key: ChildKey, reason: ExitReason) {
        let Some(child) = self.children.get(key) else { return };
        let (id, when) = (Arc::clone(&child.options.id), child.intensity.when_exceeded());
        self.end_without_restart(key, PlanState::Failed);
        if when == WhenExceeded::Escalate {
            let text = format!("{id} exceeded its restart intensity; it last ended with {reason}");
            self.begin_shutdown(ExitReason::Error(text), Some(Exceeded { id, reason }));
        }
    }

    /// Includes the siblings that the strategy restarts with `failed`.
    fn restart_group(&mut self, failed: ChildKey) {
        let from = match self.strategy {
            Strategy::OneForOne => return,
            Strategy::OneForAll => None,
            Strategy::RestForOne => Some(failed),
        };
        for key in self.children.keys().into_iter().filter(|key| from.is_none_or(|from| *key >= from)) {
            self.children.update(key, |child| match child.state {
                _ if key == failed => child.in_sequence = true,
                PlanState::Starting
                | PlanState::Running
                | PlanState::Stopping(AfterStop::Restart | AfterStop::FailLate) => child.group_restart = true,
                PlanState::Queued | PlanState::Backoff => {
                    child.in_sequence = true;
                    child.enter(PlanState::Queued);
                }
                PlanState::Stopping(AfterStop::Stay) | PlanState::Stopped | PlanState::Failed => {}
            });
        }
    }

    fn operate(&mut self, key: ChildKey, command: OperatorCommand) {
        let Some(state) = self.state(key) else { return };
        match (command, state) {
            (OperatorCommand::Restart, PlanState::Starting | PlanState::Running) => self.stop(key, AfterStop::Restart),
            (OperatorCommand::Restart, PlanState::Stopping(_)) => {
                self.enter(key, PlanState::Stopping(AfterStop::Restart));
            }
            (OperatorCommand::Restart, PlanState::Backoff | PlanState::Stopped | PlanState::Failed) => {
                self.enter(key, PlanState::Queued);
            }
            (OperatorCommand::Stop, PlanState::Starting | PlanState::Running) => {
                self.children.update(key, |child| child.group_restart = false);
                self.stop(key, AfterStop::Stay);
            }
            (OperatorCommand::Stop, PlanState::Stopping(_)) => self.children.update(key, |child| {
                child.group_restart = false;
                child.enter(PlanState::Stopping(AfterStop::Stay));
            }),
            (
                OperatorCommand::Stop,
                PlanState::Queued | PlanState::Backoff | PlanState::Stopped | PlanState::Failed,
            ) => self.stay_stopped(key),
            (OperatorCommand::Reset, state) => self.children.update(key, |child| {
                child.intensity.reset();
                child.changed();
                if matches!(state, PlanState::Backoff | PlanState::Failed) {
                    child.enter(PlanState::Queued);
                }
            }),
            (OperatorCommand::Restart, PlanState::Queued) => {}
        }
    }

    /// Begins to stop all children; the first reason counts.
    fn begin_shutdown(&mut self, reason: ExitReason, exceeded: Option<Exceeded>) {
        if self.closing.is_none() {
            self.closing = Some(Closing { reason, exceeded, live: self.children.live() });
        }
    }

    /// Takes the steps that the current state allows.
    fn advance(&mut self) {
        if self.closing.is_some() {
            return self.stop_all();
        }
        if let Some(key) = self.children.last_of_group()
            && !matches!(self.state(key), Some(PlanState::Stopping(_)))
        {
            self.stop(key, AfterStop::Restart);
        }
        while let Some(key) = self.children.first_queued_alone() {
            self.launch(key);
        }
        if self.children.last_of_group().is_some() || self.children.is_sequence_backing_off() {
            return;
        }
        if self.together {
            for key in self.children.queued_in_sequence() {
                self.launch(key);
            }
        } else if let Some(first) = self.children.first_in_sequence()
            && self.children.is_queued_in_sequence(first)
        {
            self.launch(first);
        }
    }

    fn stop_all(&mut self) {
        for key in self.children.waiting() {
            self.end_without_restart(key, PlanState::Stopped);
        }
        match self.last_live() {
            Some(key) if matches!(self.state(key), Some(PlanState::Stopping(_))) => {}
            Some(key) => self.stop(key, AfterStop::Stay),
            None if self.finished => {}
            None => {
                self.finished = true;
                if let Some(Closing { reason, exceeded, .. }) = self.closing.clone() {
                    self.steps.push_back(SupervisorStep::Finish { reason, exceeded });
                }
            }
        }
    }

    /// The last child to stop. Those that have ended are skipped once.
    fn last_live(&mut self) -> Option<ChildKey> {
        let closing = self.closing.as_mut()?;
        while let Some(key) = closing.live.last() {
            if self.children.get(*key).is_some_and(|child| child.state.is_live()) {
                return Some(*key);
            }
            closing.live.pop();
        }
        None
    }

    fn launch(&mut self, key: ChildKey) {
        let number = self.next_number();
        let mut ready_within = None;
        self.children.update(key, |child| {
            child.run = number;
            child.enter(PlanState::Starting);
            ready_within = child.options.ready_within;
        });
        self.steps.push_back(SupervisorStep::Launch { key, run: RunId { key, number } });
        if let Some(length) = ready_within {
            self.wait(key, length, ChildTimer::Late);
        }
    }

    fn stop(&mut self, key: ChildKey, then: AfterStop) {
        let mut grace = None;
        self.children.update(key, |child| {
            child.enter(PlanState::Stopping(then));
            grace = child.options.grace;
        });
        self.steps.push_back(SupervisorStep::Stop { key });
        if let Some(length) = grace {
            self.wait(key, length, ChildTimer::Grace);
        }
    }

    /// Leaves the child stopped, and removes it from the tree if it is temporary.
    fn stay_stopped(&mut self, key: ChildKey) {
        self.end_without_restart(key, PlanState::Stopped);
        if self.children.get(key).is_some_and(|child| child.options.restart == Restart::Temporary) {
            self.children.remove(key);
            self.steps.push_back(SupervisorStep::Forget { key });
        }
    }

    fn end_without_restart(&mut self, key: ChildKey, state: PlanState) {
        self.children.update(key, |child| {
            child.in_sequence = false;
            child.group_restart = false;
            child.enter(state);
        });
        self.steps.push_back(SupervisorStep::CloseMailbox { key });
    }

    fn enter(&mut self, key: ChildKey, state: PlanState) {
        self.children.update(key, |child| child.enter(state));
    }

    fn state(&self, key: ChildKey) -> Option<PlanState> {
        self.children.get(key).map(|child| child.state)
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
mod tests;
