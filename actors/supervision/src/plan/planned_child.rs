//! The state of one child in the plan.

use std::time::Duration;

use super::child_slots::ChildKey;
use super::types::{ChildOptions, PlanState, RunId};
use crate::policy::RestartIntensity;

/// The state of one child in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PlannedChild {
    pub(super) key: ChildKey,
    pub(super) options: ChildOptions,
    pub(super) intensity: RestartIntensity,
    pub(super) state: PlanState,
    /// Number of the current or last incarnation.
    pub(super) run: u64,
    /// Since when it has been ready.
    pub(super) ready_at: Option<Duration>,
    /// When the backoff is over.
    pub(super) due: Option<Duration>,
    /// The start in order waits for this child.
    pub(super) in_sequence: bool,
    /// The group restart has not stopped this child yet.
    pub(super) group_restart: bool,
    pub(super) shown: ShownState,
}

/// Whether the board shows the state of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ShownState {
    Shown,
    Changed,
    /// Listed for [`SupervisorPlan::next_changed`](super::SupervisorPlan::next_changed).
    Listed,
}

impl PlannedChild {
    /// A child that is not started yet.
    pub(super) fn new(key: ChildKey, options: ChildOptions) -> Self {
        Self {
            key,
            intensity: RestartIntensity::new(options.policy),
            options,
            state: PlanState::Queued,
            run: 0,
            ready_at: None,
            due: None,
            in_sequence: false,
            group_restart: false,
            shown: ShownState::Listed,
        }
    }

    /// The current or last incarnation.
    pub(super) fn run_id(&self) -> RunId {
        RunId { key: self.key, number: self.run }
    }

    pub(crate) fn key(&self) -> ChildKey {
        self.key
    }

    pub(crate) fn state(&self) -> PlanState {
        self.state
    }

    pub(crate) fn intensity(&self) -> &RestartIntensity {
        &self.intensity
    }

    /// When the backoff is over.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.due
    }

    pub(super) fn enter(&mut self, state: PlanState) {
        self.state = state;
        self.due = None;
        self.changed();
    }

    /// The board has to show the state again.
    pub(super) fn changed(&mut self) {
        if self.shown == ShownState::Shown {
            self.shown = ShownState::Changed;
        }
    }
}
