//! The decisions of a supervisor: takes an event and returns steps. No actors, no clock, no random source.
//!
//! Children start in order, each once those before it are ready, and stop in reverse, one at a time. A *group restart*
//! is the stop and start of several children because one of them failed; exits of its members do not count.

mod planned_child; // The state of one child.
mod types; // Events, steps and states.

use std::time::Duration;

use crate::exit::ExitReason;
use crate::messages::OperatorCommand;
use crate::policy::{IntensityDecision, WhenExceeded};
use crate::restart::{Restart, Strategy};

use planned_child::PlannedChild;

pub(crate) use types::{
    AfterStop, ChildKey, ChildOptions, ChildTimer, Exceeded, PlanState, SupervisorEvent, SupervisorStep,
};

/// Time for a killed child to be dropped before it is abandoned: its thread may be busy with another actor.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);

/// The decisions of one supervisor. `now` and the times in it are on one monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SupervisorPlan {
    strategy: Strategy,
    children: Vec<PlannedChild>,
    closing: Option<Closing>,
    finished: bool,
    /// Next key or run.
    next: u64,
    steps: Vec<SupervisorStep>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Closing {
    reason: ExitReason,
    exceeded: Option<Exceeded>,
}

impl SupervisorPlan {
    pub(crate) fn new(strategy: Strategy) -> Self {
        Self { strategy, children: Vec::new(), closing: None, finished: false, next: 0, steps: Vec::new() }
    }

    /// Adds a child at the end of the order; the next event starts it. One added before [`SupervisorEvent::Start`] waits
    /// for those before it.
    pub(crate) fn add(&mut self, options: ChildOptions) -> ChildKey {
        let key = self.next_number();
        self.children.push(PlannedChild::new(key, options));
        key
    }

    pub(crate) fn on(&mut self, event: SupervisorEvent, now: Duration, random: f64) -> Vec<SupervisorStep> {
        match event {
            SupervisorEvent::Start => self.children.iter_mut().for_each(|child| child.in_sequence = true),
            SupervisorEvent::Added => {}
            SupervisorEvent::Ready { run } => self.ready(run, now),
            SupervisorEvent::Ended { run, reason } => {
                if let Some(at) = self.position_of_run(run) {
                    self.ended(at, reason, now, random);
                }
            }
            SupervisorEvent::Due(timer) => self.due(timer, now, random),
            SupervisorEvent::Operate { key, command } => {
                if let Some(at) = self.position(key) {
                    self.operate(at, command);
                }
            }
            SupervisorEvent::Remove { key } => {
                if let Some(at) = self.position(key) {
                    self.children[at].options.restart = Restart::Temporary;
                    self.operate(at, OperatorCommand::Stop);
                }
            }
            SupervisorEvent::Shutdown => self.begin_shutdown(ExitReason::Shutdown, None),
        }
        self.advance();
        std::mem::take(&mut self.steps)
    }

    /// The child whose current incarnation is `run`.
    pub(crate) fn key_of(&self, run: u64) -> Option<ChildKey> {
        self.position_of_run(run).map(|at| self.children[at].key)
    }

    /// The exit reason of `run` that counts: a child that was stopped because it was not ready in time ended in error.
    pub(crate) fn counted_reason(&self, run: u64, reason: ExitReason) -> ExitReason {
        match self.position_of_run(run).map(|at| self.children[at].state) {
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
        self.children.iter().all(|child| !child.in_sequence)
    }

    /// The children that have changed since the last call.
    pub(crate) fn changed(&mut self) -> impl Iterator<Item = &PlannedChild> {
        self.children.iter_mut().filter_map(|child| std::mem::take(&mut child.changed).then_some(&*child))
    }

    fn ready(&mut self, run: u64, now: Duration) {
        let Some(at) = self.position_of_run(run) else { return };
        let child = &mut self.children[at];
        if child.state == PlanState::Starting {
            child.enter(PlanState::Running);
            child.ready_at = Some(now);
            child.in_sequence = false;
        }
    }

    fn ended(&mut self, at: usize, reason: ExitReason, now: Duration, random: f64) {
        let child = &mut self.children[at];
        let state = child.state;
        let grouped = std::mem::take(&mut child.group_restart);
        let ran_for = child.ready_at.take().map_or(Duration::ZERO, |since| now.saturating_sub(since));
        if self.closing.is_some() || state == PlanState::Stopping(AfterStop::Stay) {
            return self.stay_stopped(at);
        }
        match (state, grouped) {
            (_, true) if child.options.restart == Restart::Temporary => self.stay_stopped(at),
            (_, true) if !matches!(reason, ExitReason::Fatal(_)) => {
                child.in_sequence = true;
                child.enter(PlanState::Queued);
            }
            (PlanState::Stopping(AfterStop::Restart), _) if !matches!(reason, ExitReason::Fatal(_)) => {
                child.enter(PlanState::Queued);
            }
            _ => self.decide_restart(at, reason, ran_for, now, random),
        }
    }

    /// Decides whether a child that ended by itself is restarted.
    fn decide_restart(&mut self, at: usize, reason: ExitReason, ran_for: Duration, now: Duration, random: f64) {
        let restart = self.children[at].options.restart;
        if restart == Restart::Temporary {
            return self.stay_stopped(at);
        }
        match reason {
            ExitReason::Normal | ExitReason::Shutdown if restart == Restart::Transient => self.stay_stopped(at),
            ExitReason::Normal
            | ExitReason::Shutdown
            | ExitReason::Panic(_)
            | ExitReason::Error(_)
            | ExitReason::Killed
            | ExitReason::Unresponsive => self.restart(at, reason, ran_for, now, random),
            ExitReason::Fatal(_) => self.end_without_restart(at, PlanState::Failed),
        }
    }

    /// Restarts a failed child, as its restart intensity and the strategy allow.
    fn restart(&mut self, at: usize, reason: ExitReason, ran_for: Duration, now: Duration, random: f64) {
        let child = &mut self.children[at];
        match child.intensity.count(ran_for, now, random) {
            IntensityDecision::RestartAfter(Duration::ZERO) => child.enter(PlanState::Queued),
            IntensityDecision::RestartAfter(length) => {
                child.enter(PlanState::Backoff);
                child.due = Some(now + length);
                let (key, timer) = (child.key, ChildTimer::Backoff(child.run));
                self.steps.push(SupervisorStep::Wait { key, length, timer });
            }
            IntensityDecision::Exceeded => {
                let (id, when) = (child.options.id.clone(), child.intensity.when_exceeded());
                self.end_without_restart(at, PlanState::Failed);
                if when == WhenExceeded::Escalate {
                    let text = format!("{id} exceeded its restart intensity; it last ended with {reason}");
                    self.begin_shutdown(ExitReason::Error(text), Some(Exceeded { id, reason }));
                }
                return;
            }
        }
        self.restart_group(at);
    }

    /// Includes the siblings that the strategy restarts with `failed`.
    fn restart_group(&mut self, failed: usize) {
        let from = match self.strategy {
            Strategy::OneForOne => return,
            Strategy::OneForAll => 0,
            Strategy::RestForOne => failed,
        };
        self.children[failed].in_sequence = true;
        for (at, child) in self.children.iter_mut().enumerate().skip(from) {
            match child.state {
                _ if at == failed => {}
                PlanState::Starting
                | PlanState::Running
                | PlanState::Stopping(AfterStop::Restart | AfterStop::FailLate) => child.group_restart = true,
                PlanState::Queued | PlanState::Backoff => {
                    child.in_sequence = true;
                    child.enter(PlanState::Queued);
                }
                PlanState::Stopping(AfterStop::Stay) | PlanState::Stopped | PlanState::Failed => {}
            }
        }
    }

    fn due(&mut self, timer: ChildTimer, now: Duration, random: f64) {
        let (ChildTimer::Backoff(run) | ChildTimer::Grace(run) | ChildTimer::Kill(run) | ChildTimer::Late(run)) = timer;
        let Some(at) = self.children.iter().position(|child| child.run == run) else { return };
        let child = &mut self.children[at];
        let key = child.key;
        match (timer, child.state) {
            (ChildTimer::Backoff(_), PlanState::Backoff) => child.enter(PlanState::Queued),
            (ChildTimer::Late(_), PlanState::Starting) => self.stop(at, AfterStop::FailLate),
            (ChildTimer::Grace(_), PlanState::Stopping(_)) => {
                self.steps.push(SupervisorStep::Kill { key });
                self.steps.push(SupervisorStep::Wait { key, length: KILL_TIMEOUT, timer: ChildTimer::Kill(run) });
            }
            (ChildTimer::Kill(_), PlanState::Stopping(_)) => {
                self.steps.push(SupervisorStep::Abandon { key });
                self.ended(at, ExitReason::Killed, now, random);
            }
            _ => {}
        }
    }

    fn operate(&mut self, at: usize, command: OperatorCommand) {
        let child = &mut self.children[at];
        match (command, child.state) {
            (OperatorCommand::Restart, PlanState::Starting | PlanState::Running) => self.stop(at, AfterStop::Restart),
            (OperatorCommand::Restart, PlanState::Stopping(_)) => child.enter(PlanState::Stopping(AfterStop::Restart)),
            (OperatorCommand::Restart, PlanState::Backoff | PlanState::Stopped | PlanState::Failed) => {
                child.enter(PlanState::Queued);
            }
            (OperatorCommand::Stop, PlanState::Starting | PlanState::Running) => {
                child.group_restart = false;
                self.stop(at, AfterStop::Stay);
            }
            (OperatorCommand::Stop, PlanState::Stopping(_)) => {
                child.group_restart = false;
                child.enter(PlanState::Stopping(AfterStop::Stay));
            }
            (
                OperatorCommand::Stop,
                PlanState::Queued | PlanState::Backoff | PlanState::Stopped | PlanState::Failed,
            ) => self.stay_stopped(at),
            (OperatorCommand::Reset, state) => {
                child.intensity.reset();
                child.changed = true;
                if matches!(state, PlanState::Backoff | PlanState::Failed) {
                    child.enter(PlanState::Queued);
                }
            }
            (OperatorCommand::Restart, PlanState::Queued) => {}
        }
    }

    /// Begins to stop all children; the first reason counts.
    fn begin_shutdown(&mut self, reason: ExitReason, exceeded: Option<Exceeded>) {
        self.closing.get_or_insert(Closing { reason, exceeded });
    }

    /// Takes the steps that the current state allows.
    fn advance(&mut self) {
        if let Some(closing) = self.closing.clone() {
            return self.stop_all(closing);
        }
        if let Some(at) = self.children.iter().rposition(|child| child.group_restart)
            && !matches!(self.children[at].state, PlanState::Stopping(_))
        {
            self.stop(at, AfterStop::Restart);
        }
        let group_restart = self.children.iter().any(|child| child.group_restart);
        let waiting = self.children.iter().any(|child| child.in_sequence && child.state == PlanState::Backoff);
        let mut clear = !group_restart && !waiting;
        for at in 0..self.children.len() {
            let child = &self.children[at];
            if child.state == PlanState::Queued && (clear || !child.in_sequence) {
                self.launch(at);
            }
            clear &= !self.children[at].in_sequence;
        }
    }

    fn stop_all(&mut self, closing: Closing) {
        for at in 0..self.children.len() {
            if matches!(self.children[at].state, PlanState::Queued | PlanState::Backoff) {
                self.end_without_restart(at, PlanState::Stopped);
            }
        }
        match self.children.iter().rposition(|child| child.state.is_live()) {
            Some(at) if matches!(self.children[at].state, PlanState::Stopping(_)) => {}
            Some(at) => self.stop(at, AfterStop::Stay),
            None if self.finished => {}
            None => {
                self.finished = true;
                self.steps.push(SupervisorStep::Finish { reason: closing.reason, exceeded: closing.exceeded });
            }
        }
    }

    fn launch(&mut self, at: usize) {
        let run = self.next_number();
        let child = &mut self.children[at];
        child.run = run;
        child.enter(PlanState::Starting);
        let key = child.key;
        self.steps.push(SupervisorStep::Launch { key, run });
        if let Some(length) = child.options.ready_within {
            self.steps.push(SupervisorStep::Wait { key, length, timer: ChildTimer::Late(run) });
        }
    }

    fn stop(&mut self, at: usize, then: AfterStop) {
        let child = &mut self.children[at];
        child.enter(PlanState::Stopping(then));
        let (key, timer) = (child.key, ChildTimer::Grace(child.run));
        self.steps.push(SupervisorStep::Stop { key });
        if let Some(length) = child.options.grace {
            self.steps.push(SupervisorStep::Wait { key, length, timer });
        }
    }

    /// Leaves the child stopped, and removes it from the tree if it is temporary.
    fn stay_stopped(&mut self, at: usize) {
        self.end_without_restart(at, PlanState::Stopped);
        if self.children[at].options.restart == Restart::Temporary {
            let child = self.children.remove(at);
            self.steps.push(SupervisorStep::Forget { key: child.key });
        }
    }

    fn end_without_restart(&mut self, at: usize, state: PlanState) {
        let child = &mut self.children[at];
        child.in_sequence = false;
        child.group_restart = false;
        child.enter(state);
        self.steps.push(SupervisorStep::Drain { key: child.key });
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn position(&self, key: ChildKey) -> Option<usize> {
        self.children.iter().position(|child| child.key == key)
    }

    fn position_of_run(&self, run: u64) -> Option<usize> {
        self.children.iter().position(|child| child.run == run && child.state.is_live())
    }
}

#[cfg(test)]
mod tests;
