//! What everyone last said of themselves, and when. It outlives every incarnation of the status, as the actors that said it may
//! be down by then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::locked::locked;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::config::ConfigView;
use caduceus_contract::messages::dispatch::DispatchView;
use caduceus_contract::messages::drain::DrainView;
use caduceus_contract::messages::honcho::GrantView;
use caduceus_contract::messages::ledger::LedgerView;
use caduceus_contract::messages::profile::ProfileView;
use caduceus_contract::messages::relay::LinkView;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::status::shown::{Shown, View};
use caduceus_contract::status::snapshot::ProcessView;
use caduceus_contract::time::millis;
use caduceus_supervision::{AskError, ChildState, TreeNode};

/// What was last said; outlives any one incarnation of the status. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct ViewMemory(Arc<Mutex<Views>>);

impl ViewMemory {
    pub(super) fn lock(&self) -> MutexGuard<'_, Views> {
        locked(&self.0)
    }
}

/// What everyone last said.
#[derive(Debug, Default)]
pub(super) struct Views {
    pub(super) drain: Known<DrainView>,
    pub(super) dispatch: Known<DispatchView>,
    pub(super) ledger: Known<LedgerView>,
    pub(super) grants: Known<Vec<GrantView>>,
    pub(super) config: Known<ConfigView>,
    pub(super) profiles: BTreeMap<ProfileName, Known<Option<ProfileView>>>,
    pub(super) links: BTreeMap<LinkId, Known<Option<LinkView>>>,
    pub(super) process: Option<ProcessView>,
}

/// One view.
#[derive(Debug, Clone, Default)]
pub(super) struct Known<T> {
    value: T,
    /// When it was told; `None` if it never was.
    at: Option<Instant>,
    /// Which incarnation of its actor was asked.
    generation: u64,
    /// Whether the last question was answered.
    answered: bool,
}

impl<T> Known<T> {
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
