//! How many events wait over each link: in a queue, or being recorded to wait or be steered afterwards. Those of turns do not, nor do those
//! that were steered into one.

use std::collections::{BTreeMap, BTreeSet};

use caduceus_contract::link::LinkId;

/// The events of one dispatcher that wait, by link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct LinkCounts {
    /// Without the links over which none waits.
    by_link: BTreeMap<LinkId, usize>,
    /// Links whose number has changed since [`LinkCounts::take_changed`].
    changed: BTreeSet<LinkId>,
}

impl LinkCounts {
    /// One more waits over `link`.
    pub(super) fn add(&mut self, link: &LinkId) {
        match self.by_link.get_mut(link) {
            Some(events) => *events += 1,
            None => drop(self.by_link.insert(link.clone(), 1)),
        }
        self.changed.insert(link.clone());
    }

    /// One fewer waits over `link`.
    pub(super) fn remove(&mut self, link: &LinkId) {
        match self.by_link.get_mut(link) {
            Some(events) if *events > 1 => *events -= 1,
            Some(_) => drop(self.by_link.remove(link)),
            None => return,
        }
        self.changed.insert(link.clone());
    }

    /// Events that wait over `link`.
    pub(super) fn of(&self, link: &LinkId) -> usize {
        self.by_link.get(link).copied().unwrap_or_default()
    }

    /// The links whose number has changed since the last call.
    pub(super) fn take_changed(&mut self) -> BTreeSet<LinkId> {
        std::mem::take(&mut self.changed)
    }
}
