//! The children of a plan, with an index for each question that is asked at every event.
//!
//! A supervisor of turns has thousands of children; none of its events may cost more for that. So an event changes only the indexes
//! that the child enters or leaves.

use std::collections::BTreeSet;

use super::child_slots::{ChildKey, ChildKeys, ChildSlots};
use super::planned_child::{PlannedChild, ShownState};
use super::types::{ChildOptions, PlanState, RunId};

/// The children; a later child has a higher key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct PlannedChildren {
    keys: ChildKeys,
    all: ChildSlots<PlannedChild>,
    indexes: [BTreeSet<ChildKey>; INDEXES],
    /// Those that are [`ShownState::Listed`], each once; some may have been removed.
    changed: Vec<ChildKey>,
    #[cfg(test)]
    index_changes: u64,
}

/// A property of children that has an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Index {
    /// Queued, and waits for no other child.
    QueuedAlone,
    /// Queued, in the start in order.
    QueuedInSequence,
    BackingOff,
    /// The start in order waits for it.
    InSequence,
    /// In the start in order, which waits for its backoff.
    SequenceBackingOff,
    /// A group restart has not stopped it yet.
    Group,
}

const INDEXES: usize = 6;

impl PlannedChild {
    /// Whether it is in each index, in the order of [`Index`].
    fn indexed(&self) -> [bool; INDEXES] {
        let (queued, backing_off) = (self.state == PlanState::Queued, self.state == PlanState::Backoff);
        [
            queued && !self.in_sequence,
            queued && self.in_sequence,
            backing_off,
            self.in_sequence,
            backing_off && self.in_sequence,
            self.group_restart,
        ]
    }
}

impl PlannedChildren {
    pub(super) fn add(&mut self, number: u64, options: ChildOptions) -> ChildKey {
        let key = self.keys.allocate(number);
        let child = PlannedChild::new(key, options);
        self.move_between([false; INDEXES], child.indexed(), key);
        self.all.put(key, child);
        self.changed.push(key);
        key
    }

    pub(super) fn remove(&mut self, key: ChildKey) {
        if let Some(child) = self.all.remove(key) {
            self.keys.release(key);
            self.move_between(child.indexed(), [false; INDEXES], key);
        }
    }

    pub(super) fn get(&self, key: ChildKey) -> Option<&PlannedChild> {
        self.all.get(key)
    }

    /// Changes a child, and the indexes with it.
    pub(super) fn update(&mut self, key: ChildKey, change: impl FnOnce(&mut PlannedChild)) {
        let Some(child) = self.all.get_mut(key) else { return };
        let before = child.indexed();
        change(child);
        let after = child.indexed();
        if child.shown == ShownState::Changed {
            child.shown = ShownState::Listed;
            self.changed.push(key);
        }
        self.move_between(before, after, key);
    }

    fn move_between(&mut self, before: [bool; INDEXES], after: [bool; INDEXES], key: ChildKey) {
        #[cfg(test)]
        {
            self.index_changes +=
                before.iter().zip(&after).map(|(before, after)| u64::from(before != after)).sum::<u64>();
        }
        for (index, (before, after)) in self.indexes.iter_mut().zip(before.into_iter().zip(after)) {
            match (before, after) {
                (false, true) => {
                    index.insert(key);
                }
                (true, false) => {
                    index.remove(&key);
                }
                (true, true) | (false, false) => {}
            }
        }
    }

    /// All children, oldest first.
    pub(super) fn keys(&self) -> Vec<ChildKey> {
        let mut keys: Vec<_> = self.all.values().map(|child| child.key).collect();
        keys.sort_unstable();
        keys
    }

    /// The child whose current or last incarnation is `run`.
    pub(super) fn of_run(&self, run: RunId) -> Option<ChildKey> {
        self.all.get(run.key).filter(|child| child.run == run.number).map(|child| child.key)
    }

    /// The child whose current incarnation is `run`.
    pub(super) fn of_live_run(&self, run: RunId) -> Option<ChildKey> {
        self.all.get(run.key).filter(|child| child.run == run.number && child.state.is_live()).map(|child| child.key)
    }

    /// The oldest child that may start and waits for no other.
    pub(super) fn first_queued_alone(&self) -> Option<ChildKey> {
        self.index(Index::QueuedAlone).first().copied()
    }

    /// The queued children of the start in order, oldest first.
    pub(super) fn queued_in_sequence(&self) -> Vec<ChildKey> {
        self.index(Index::QueuedInSequence).iter().copied().collect()
    }

    pub(super) fn is_queued_in_sequence(&self, key: ChildKey) -> bool {
        self.index(Index::QueuedInSequence).contains(&key)
    }

    /// The children that wait to be started, at once or after a backoff, oldest first.
    pub(super) fn waiting(&self) -> Vec<ChildKey> {
        let waiting = [Index::QueuedAlone, Index::QueuedInSequence, Index::BackingOff];
        let mut waiting: Vec<_> = waiting.into_iter().flat_map(|index| self.index(index)).copied().collect();
        waiting.sort_unstable();
        waiting
    }

    /// The children with an incarnation, oldest first. Visits all children.
    pub(super) fn live(&self) -> Vec<ChildKey> {
        let live = |key: &ChildKey| self.get(*key).is_some_and(|child| child.state.is_live());
        self.keys().into_iter().filter(live).collect()
    }

    pub(super) fn last_of_group(&self) -> Option<ChildKey> {
        self.index(Index::Group).last().copied()
    }

    /// The first child that the start in order waits for.
    pub(super) fn first_in_sequence(&self) -> Option<ChildKey> {
        self.index(Index::InSequence).first().copied()
    }

    /// Whether the start in order waits for a backoff.
    pub(super) fn is_sequence_backing_off(&self) -> bool {
        !self.index(Index::SequenceBackingOff).is_empty()
    }

    /// A child that has changed since it was last returned; `None` once there is none left.
    pub(super) fn next_changed(&mut self) -> Option<&PlannedChild> {
        loop {
            let key = self.changed.pop()?;
            if let Some(child) = self.all.get_mut(key) {
                child.shown = ShownState::Shown;
                break self.all.get(key);
            }
        }
    }

    fn index(&self, index: Index) -> &BTreeSet<ChildKey> {
        &self.indexes[index as usize]
    }

    /// Insertions into indexes and removals from them, so far.
    #[cfg(test)]
    pub(super) fn index_changes(&self) -> u64 {
        self.index_changes
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &PlannedChild> {
        self.keys().into_iter().filter_map(|key| self.all.get(key))
    }

    /// The child at this place in the order.
    #[cfg(test)]
    pub(super) fn nth(&self, place: usize) -> &PlannedChild {
        self.iter().nth(place).unwrap()
    }
}
