//! What everyone last said of themselves, and when. It outlives every incarnation of the status, as the actors that said it may
//! be down by then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::shown::{Shown, View, millis};
use super::snapshot::ProcessView;
use crate::config::messages::ConfigView;
use crate::dispatch::messages::DispatchView;
use crate::drain::messages::DrainView;
use crate::honcho::messages::GrantView;
use crate::ledger::messages::LedgerView;
use crate::profile::messages::ProfileView;
use crate::profile::name::ProfileName;
use crate::relay::messages::{LinkId, LinkView};
use caduceus_supervision::{AskError, ChildState, TreeNode};

/// What was last said; outlives any one incarnation of the status. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct ViewMemory(Arc<Mutex<Views>>);

impl ViewMemory {
    pub(super) fn lock(&self) -> MutexGuard<'_, Views> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What everyone last said.
#[derive(Debug, Default)]
pub(super) struct Views {
    pub(super) drain: LastAnswer<DrainView>,
    pub(super) dispatch: LastAnswer<DispatchView>,
    pub(super) ledger: LastAnswer<LedgerView>,
    pub(super) grants: LastAnswer<Vec<GrantView>>,
    pub(super) config: LastAnswer<ConfigView>,
    pub(super) profiles: BTreeMap<ProfileName, LastAnswer<Option<ProfileView>>>,
    pub(super) links: BTreeMap<LinkId, LastAnswer<Option<LinkView>>>,
    pub(super) process: Option<ProcessView>,
}

/// One view.
#[derive(Debug, Clone, Default)]
pub(super) struct LastAnswer<T> {
    value: T,
    /// When it was told; `None` if it never was.
    at: Option<Instant>,
    /// Which incarnation of its actor was asked.
    generation: u64,
    /// Whether the last question was answered.
    answered: bool,
}

impl<T> LastAnswer<T> {
    /// The last question, to the actor at `node`, was answered like this.
    pub(super) fn hear(&mut self, answer: Result<T, AskError>, generation: u64) {
        self.answered = answer.is_ok();
        if let Ok(value) = answer {
            *self = Self { value, at: Some(Instant::now()), generation, answered: true };
        }
    }

    pub(super) fn value(&self) -> &T {
        &self.value
    }

    /// Whether it was told by the incarnation that runs now.
    fn is_current(&self, node: Option<&TreeNode>) -> bool {
        self.answered && node.is_some_and(|node| node.generation == self.generation)
    }

    fn age(&self, now: Instant, started: Instant) -> Duration {
        now.saturating_duration_since(self.at.unwrap_or(started))
    }

    /// How old it is in milliseconds, unless it is current.
    pub(super) fn stale_ms(&self, node: Option<&TreeNode>, now: Instant, started: Instant) -> Option<u64> {
        let running = node.is_some_and(|node| node.state == ChildState::Running);
        (!running || !self.is_current(node)).then(|| millis(self.age(now, started)))
    }

    /// As the status shows it, beside the state of its actor at `node`.
    pub(super) fn shown<V: View>(&self, view: V, node: Option<&TreeNode>, now: Instant, started: Instant) -> Shown<V> {
        // Between a restart and the next answer it is not known how the new incarnation is.
        let changed = node.is_some_and(|node| self.at.is_some() && node.generation != self.generation);
        let actor = match node.map_or(ChildState::Stopped, |node| node.state) {
            ChildState::Running if changed => ChildState::Starting,
            state => state,
        };
        Shown::new(view, actor, self.answered, self.age(now, started))
    }
}
