//! Which links are up and what they can do; and events whose link is no more.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::ledger::messages::InboundId;
use crate::relay::descriptor::Descriptor;
use crate::relay::messages::{LinkChanged, LinkId, Target};

/// What the links can do that are up and have said so.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    known: HashMap<LinkId, Arc<[Descriptor]>>,
    /// Links that events were said to wait for since they were last up.
    missed: BTreeSet<LinkId>,
}

impl Descriptors {
    /// What the platform of a chat can do; `None` while its link is not up.
    pub(super) fn descriptor(&self, target: &Target) -> Option<Descriptor> {
        Descriptor::of(self.known.get(&target.link)?, &target.platform).cloned()
    }

    pub(super) fn is_up(&self, link: &LinkId) -> bool {
        self.known.contains_key(link)
    }

    /// Takes note of what a link can do, or that it went down.
    pub(super) fn set(&mut self, news: &LinkChanged) {
        match &news.descriptors {
            Some(descriptors) => {
                self.missed.remove(&news.link);
                self.known.insert(news.link.clone(), Arc::clone(descriptors));
            }
            None => drop(self.known.remove(&news.link)),
        }
    }

    /// Takes note that events wait for this link. `false` if that was noted since it was last up.
    pub(super) fn awaited(&mut self, link: &LinkId) -> bool {
        self.missed.insert(link.clone())
    }
}

/// Events whose link is no more, by link, oldest first, with the milliseconds since 1970 at which they were written down. They
/// stand in no line: their sessions go on without them.
#[derive(Debug, Default)]
pub(super) struct Orphans(BTreeMap<LinkId, VecDeque<(i64, InboundId)>>);

impl Orphans {
    pub(super) fn push(&mut self, link: LinkId, received_at_ms: i64, event: InboundId) {
        self.0.entry(link).or_default().push_back((received_at_ms, event));
    }

    /// How many there are, by link.
    pub(super) fn counts(&self) -> impl Iterator<Item = (LinkId, usize)> {
        self.0.iter().filter(|(_, events)| !events.is_empty()).map(|(link, events)| (link.clone(), events.len()))
    }

    /// Takes those that were written down before `oldest_ms`, at most `limit`.
    pub(super) fn take_old(&mut self, oldest_ms: i64, limit: usize) -> Vec<InboundId> {
        let mut old = Vec::new();
        for events in self.0.values_mut() {
            while old.len() < limit
                && let Some((_, event)) = events.pop_front_if(|(received, _)| *received < oldest_ms)
            {
                old.push(event);
            }
        }
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_link_that_is_no_more_are_given_up_by_their_age_and_a_few_at_a_time() {
        let (gone, other) = (LinkId("relay-gone".into()), LinkId("relay-other".into()));
        let mut orphans = Orphans::default();
        for (at, id) in [(10, 1), (20, 2), (30, 3)] {
            orphans.push(gone.clone(), at, InboundId(id));
        }
        orphans.push(other.clone(), 5, InboundId(4));
        assert_eq!(orphans.take_old(25, 2), [InboundId(1), InboundId(2)]);
        assert_eq!(orphans.take_old(25, 2), [InboundId(4)]);
        assert_eq!(orphans.take_old(25, 2), []);
        assert_eq!(orphans.counts().collect::<Vec<_>>(), [(gone, 1)]);
    }
}
