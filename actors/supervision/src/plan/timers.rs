//! The timers of children: backoff, grace, kill, and readiness.

use std::time::Duration;

use super::SupervisorPlan;
use super::child_slots::ChildKey;
use super::types::{AfterStop, ChildTimer, PlanState, RunId, SupervisorStep};
use crate::exit::ExitReason;

/// Time for a killed child to be dropped before it is abandoned: its thread may be busy with another actor.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);

impl SupervisorPlan {
    pub(super) fn due(&mut self, timer: ChildTimer, now: Duration, random: f64) {
        let (ChildTimer::Backoff(run) | ChildTimer::Grace(run) | ChildTimer::Kill(run) | ChildTimer::Late(run)) = timer;
        let Some(key) = self.children.of_run(run) else { return };
        let Some(state) = self.state(key) else { return };
        match (timer, state) {
            (ChildTimer::Backoff(_), PlanState::Backoff) => self.enter(key, PlanState::Queued),
            (ChildTimer::Late(_), PlanState::Starting) => self.stop(key, AfterStop::FailLate),
            (ChildTimer::Grace(_), PlanState::Stopping(_)) => {
                self.steps.push_back(SupervisorStep::Kill { key });
                self.wait(key, KILL_TIMEOUT, ChildTimer::Kill);
            }
            (ChildTimer::Kill(_), PlanState::Stopping(_)) => {
                self.steps.push_back(SupervisorStep::Abandon { key });
                self.ended(key, ExitReason::Killed, now, random);
            }
            _ => {}
        }
    }

    /// Sets a timer for the current or last incarnation.
    pub(super) fn wait(&mut self, key: ChildKey, length: Duration, timer: impl FnOnce(RunId) -> ChildTimer) {
        if let Some(child) = self.children.get(key) {
            self.steps.push_back(SupervisorStep::Wait { key, length, timer: timer(child.run_id()) });
        }
    }
}
