//! The children of a plan in order, with an index for each question that is asked at every event.
//!
//! A supervisor of turns has thousands of children; none of its events may cost more for that.

use std::collections::{BTreeMap, BTreeSet};

use super::planned_child::PlannedChild;
use super::types::{ChildKey, ChildOptions, PlanState};

/// The children, oldest first: a later child has a higher key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct PlannedChildren {
    all: BTreeMap<ChildKey, PlannedChild>,
    /// The child of each current or last run.
    runs: BTreeMap<u64, ChildKey>,
    queued: BTreeSet<ChildKey>,
    backing_off: BTreeSet<ChildKey>,
    live: BTreeSet<ChildKey>,
    /// Children that the start in order waits for.
    in_sequence: BTreeSet<ChildKey>,
    /// Children that a group restart has not stopped yet.
    group: BTreeSet<ChildKey>,
    changed: BTreeSet<ChildKey>,
}

impl PlannedChildren {
    pub(super) fn add(&mut self, key: ChildKey, options: ChildOptions) {
        self.all.insert(key, PlannedChild::new(key, options));
        self.index(key);
    }

    pub(super) fn remove(&mut self, key: ChildKey) {
        self.forget_index(key);
        self.changed.remove(&key);
        self.all.remove(&key);
    }

    pub(super) fn get(&self, key: ChildKey) -> Option<&PlannedChild> {
        self.all.get(&key)
    }

    /// Changes a child, and the indexes with it.
    pub(super) fn update(&mut self, key: ChildKey, change: impl FnOnce(&mut PlannedChild)) {
        self.forget_index(key);
        if let Some(child) = self.all.get_mut(&key) {
            change(child);
        }
        self.index(key);
    }

    pub(super) fn keys(&self) -> Vec<ChildKey> {
        self.all.keys().copied().collect()
    }

    /// The child whose current or last incarnation is `run`.
    pub(super) fn of_run(&self, run: u64) -> Option<ChildKey> {
        self.runs.get(&run).copied()
    }

    /// The child whose current incarnation is `run`.
    pub(super) fn of_live_run(&self, run: u64) -> Option<ChildKey> {
        self.of_run(run).filter(|key| self.live.contains(key))
    }

    /// The queued children, oldest first.
    pub(super) fn queued(&self) -> Vec<ChildKey> {
        self.queued.iter().copied().collect()
    }

    /// The children that wait to be started, at once or after a backoff.
    pub(super) fn waiting(&self) -> Vec<ChildKey> {
        self.queued.union(&self.backing_off).copied().collect()
    }

    pub(super) fn last_live(&self) -> Option<ChildKey> {
        self.live.last().copied()
    }

    pub(super) fn last_of_group(&self) -> Option<ChildKey> {
        self.group.last().copied()
    }

    /// The first child that the start in order waits for.
    pub(super) fn first_in_sequence(&self) -> Option<ChildKey> {
        self.in_sequence.first().copied()
    }

    /// Whether the start in order waits for a backoff.
    pub(super) fn is_sequence_backing_off(&self) -> bool {
        self.in_sequence.intersection(&self.backing_off).next().is_some()
    }

    /// The children that have changed since the last call.
    pub(super) fn take_changed(&mut self) -> impl Iterator<Item = &PlannedChild> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|key| self.all.get(&key))
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &PlannedChild> {
        self.all.values()
    }

    /// The child at this place in the order.
    #[cfg(test)]
    pub(super) fn nth(&self, place: usize) -> &PlannedChild {
        self.all.values().nth(place).unwrap()
    }

    fn index(&mut self, key: ChildKey) {
        let Some(child) = self.all.get_mut(&key) else { return };
        if child.run != 0 {
            self.runs.insert(child.run, key);
        }
        if child.state == PlanState::Queued {
            self.queued.insert(key);
        }
        if child.state == PlanState::Backoff {
            self.backing_off.insert(key);
        }
        if child.state.is_live() {
            self.live.insert(key);
        }
        if child.in_sequence {
            self.in_sequence.insert(key);
        }
        if child.group_restart {
            self.group.insert(key);
        }
        if std::mem::take(&mut child.changed) {
            self.changed.insert(key);
        }
    }

    fn forget_index(&mut self, key: ChildKey) {
        let Some(child) = self.all.get(&key) else { return };
        self.runs.remove(&child.run);
        for index in [&mut self.queued, &mut self.backing_off, &mut self.live, &mut self.in_sequence, &mut self.group] {
            index.remove(&key);
        }
    }
}
