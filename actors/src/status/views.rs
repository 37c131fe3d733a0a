//! The last view of every actor, and its time. Outlives every incarnation of the status, because an actor may
//! be down when the next one starts.

use std::collections::{BTreeMap, HashMap};
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

/// An actor whose heartbeat is older is queried, so that its status shows whether it answers.
const HEARTBEAT_LATE_MS: u64 = 1_000;

/// The last views; outlive every incarnation of the status. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct ViewMemory(Arc<Mutex<Views>>);

impl ViewMemory {
    pub(super) fn lock(&self) -> MutexGuard<'_, Views> {
        locked(&self.0)
    }
}

/// The last view of every actor.
#[derive(Debug, Default)]
pub(super) struct Views {
    pub(super) drain: LastAnswer<DrainView>,
    /// Of each dispatcher, by path.
    pub(super) dispatch: BTreeMap<String, LastAnswer<DispatchView>>,
    pub(super) ledger: LastAnswer<LedgerView>,
    pub(super) grants: LastAnswer<Vec<GrantView>>,
    pub(super) config: LastAnswer<ConfigView>,
    pub(super) profiles: BTreeMap<ProfileName, LastAnswer<Option<ProfileView>>>,
    pub(super) links: BTreeMap<LinkId, LastAnswer<Option<LinkView>>>,
    pub(super) process: Option<ProcessView>,
}

impl Views {
    /// The parts that do not answer, with the age of what is shown of them in milliseconds. `dispatchers`: their paths.
    pub(super) fn stale<'a>(
        &self,
        dispatchers: impl Iterator<Item = &'a String>,
        nodes: &HashMap<&str, &TreeNode>,
        now: Instant,
        started: Instant,
    ) -> BTreeMap<String, u64> {
        let (node, not_reported) = (|path: &str| nodes.get(path).copied(), LastAnswer::default());
        let parts = [
            ("drain", self.drain.stale_ms(node("drain"), now, started)),
            ("ledger", self.ledger.stale_ms(node("ledger"), now, started)),
            ("honcho", self.grants.stale_ms(node("honcho"), now, started)),
            ("config", self.config.stale_ms(node("config"), now, started)),
        ];
        let dispatchers = dispatchers.map(|path| {
            let known = self.dispatch.get(path).unwrap_or(&not_reported);
            (path.as_str(), known.stale_ms(node(path), now, started))
        });
        let ages = parts.into_iter().chain(dispatchers);
        ages.filter_map(|(name, age)| Some((name.to_owned(), age?))).collect()
    }
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

    /// The value has not changed since: it counts as reported now.
    pub(super) fn confirm(&mut self, now: Instant) {
        self.at = self.at.map(|_| now);
    }

    /// Whether the incarnation at `node` reported the value and has run since.
    pub(super) fn needs_no_query(&self, node: &TreeNode) -> bool {
        let runs = node.heartbeat_age_ms.is_some_and(|age| age < HEARTBEAT_LATE_MS);
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
