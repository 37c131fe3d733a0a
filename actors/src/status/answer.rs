//! The last view of one actor, its time, and whether it is current.

use std::time::{Duration, Instant};

use caduceus_contract::status::shown::{Shown, View};
use caduceus_contract::time::millis;
use caduceus_supervision::{AskError, ChildState, TreeNode};

/// An actor whose heartbeat is older is queried, so that its status shows whether it answers.
const HEARTBEAT_LATE_MS: u64 = 1_000;

/// Whether an actor whose heartbeat has this age, in milliseconds, may hang.
pub(super) fn is_late(heartbeat_age_ms: u64) -> bool {
    heartbeat_age_ms >= HEARTBEAT_LATE_MS
}

/// Whether the actor at `node` does not run: a query would wait for its successor.
pub(super) fn is_down(node: &TreeNode) -> bool {
    matches!(node.state, ChildState::Failed | ChildState::Stopped | ChildState::Backoff | ChildState::Stopping)
}

/// One view.
#[derive(Debug, Clone, Default)]
pub(super) struct LastAnswer<T> {
    value: T,
    /// When it was reported; `None` if it never was.
    at: Option<Instant>,
    /// The incarnation of its actor that was queried.
    generation: u64,
    /// Whether the last query was answered.
    answered: bool,
}

impl<T> LastAnswer<T> {
    /// Stores the answer to the last query of the incarnation `generation`.
    pub(super) fn store(&mut self, answer: Result<T, AskError>, generation: u64) {
        self.answered = answer.is_ok();
        if let Ok(value) = answer {
            *self = Self { value, at: Some(Instant::now()), generation, answered: true };
        }
    }

    /// The value had not changed until `confirmed`: it counts as reported then.
    pub(super) fn confirm(&mut self, confirmed: Option<Instant>) {
        self.at = self.at.max(self.at.and(confirmed));
    }

    /// Whether the incarnation at `node`, whose heartbeat has this age, reported the value and has run since.
    pub(super) fn needs_no_query(&self, node: &TreeNode, heartbeat_age_ms: Option<u64>) -> bool {
        let runs = heartbeat_age_ms.is_some_and(|age| !is_late(age));
        runs && node.state == ChildState::Running && self.is_current(Some(node))
    }

    pub(super) fn value(&self) -> &T {
        &self.value
    }

    /// Whether the current incarnation reported it.
    fn is_current(&self, node: Option<&TreeNode>) -> bool {
        self.answered && node.is_some_and(|node| node.generation == self.generation)
    }

    fn age(&self, now: Instant, started: Instant) -> Duration {
        now.saturating_duration_since(self.at.unwrap_or(started))
    }

    /// Its age in milliseconds, unless it is current.
    pub(super) fn stale_ms(&self, node: Option<&TreeNode>, now: Instant, started: Instant) -> Option<u64> {
        let running = node.is_some_and(|node| node.state == ChildState::Running);
        (!running || !self.is_current(node)).then(|| millis(self.age(now, started)))
    }

    /// The view as the status shows it, beside the state of its actor at `node`.
    pub(super) fn shown<V: View>(&self, view: V, node: Option<&TreeNode>, now: Instant, started: Instant) -> Shown<V> {
        // Between a restart and the next answer the state of the new incarnation is unknown.
        let changed = node.is_some_and(|node| self.at.is_some() && node.generation != self.generation);
        let actor = match node.map_or(ChildState::Stopped, |node| node.state) {
            ChildState::Running if changed => ChildState::Starting,
            state => state,
        };
        Shown::new(view, actor, self.answered, self.age(now, started))
    }
}
