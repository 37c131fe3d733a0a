//! Which links are up, with their descriptors, whose replies are being sent again; and events whose link is no longer configured.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::messages::ledger::InboundId;
use caduceus_contract::messages::relay::LinkChanged;
use caduceus_contract::wire::descriptor::Descriptor;

/// The links as last reported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct LinkTable {
    /// Descriptors of the links that are up.
    descriptors: BTreeMap<LinkId, Arc<[Arc<Descriptor>]>>,
    /// Links for which it was logged that events wait, since they were last up.
    waiting_logged: BTreeSet<LinkId>,
    /// Links whose replies are being sent again; `true` if more were added meanwhile.
    resending: BTreeMap<LinkId, bool>,
    unlinked: UnlinkedEvents,
    /// Checks until the next one that looks for old replies.
    checks_left: u32,
}

impl LinkTable {
    /// The descriptor of a chat's platform; `None` while its link is not up.
    pub(super) fn descriptor(&self, target: &Target) -> Option<Arc<Descriptor>> {
        Descriptor::of(self.descriptors.get(&target.link)?, &target.platform).cloned()
    }

    pub(super) fn is_up(&self, link: &LinkId) -> bool {
        self.descriptors.contains_key(link)
    }

    /// The links that are up.
    pub(super) fn up(&self) -> BTreeSet<LinkId> {
        self.descriptors.keys().cloned().collect()
    }

    /// Counts a check of the links. Whether it looks for old replies, as the first one does and then one of `every`.
    pub(super) fn is_check_for_old_replies(&mut self, every: u32) -> bool {
        let is_due = self.checks_left == 0;
        self.checks_left = if is_due { every } else { self.checks_left } - 1;
        is_due
    }

    /// Stores the descriptors of a link, or that it went down.
    pub(super) fn set(&mut self, changed: &LinkChanged) {
        match &changed.descriptors {
            Some(descriptors) => {
                self.waiting_logged.remove(&changed.link);
                self.descriptors.insert(changed.link.clone(), Arc::clone(descriptors));
            }
            None => drop(self.descriptors.remove(&changed.link)),
        }
    }

    /// Whether it is to be logged that events wait for this link: `true` once, until it is up again.
    pub(super) fn log_waiting(&mut self, link: &LinkId) -> bool {
        self.waiting_logged.insert(link.clone())
    }

    /// Whether the replies that wait for this link are to be sent now: not while it is down. One round at a time, or a reply would be
    /// sent twice; if one is under way, another follows it.
    pub(super) fn begin_resend(&mut self, link: &LinkId) -> bool {
        if !self.is_up(link) {
            return false;
        }
        if let Some(more) = self.resending.get_mut(link) {
            *more = true;
            return false;
        }
        self.resending.insert(link.clone(), false);
        true
    }

    /// The replies of this link were sent. Whether more were added meanwhile.
    pub(super) fn end_resend(&mut self, link: &LinkId) -> bool {
        self.resending.remove(link) == Some(true)
    }

    /// Whether the replies of this link are being sent again at this moment.
    pub(super) fn is_resending(&self, link: &LinkId) -> bool {
        self.resending.contains_key(link)
    }

    /// The events whose link is no longer configured.
    pub(super) fn unlinked(&self) -> &UnlinkedEvents {
        &self.unlinked
    }

    pub(super) fn unlinked_mut(&mut self) -> &mut UnlinkedEvents {
        &mut self.unlinked
    }
}

/// Events whose link is no longer configured, by link, oldest first, with the milliseconds since 1970 at which they were
/// recorded. They are in no queue: their sessions continue without them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct UnlinkedEvents(BTreeMap<LinkId, VecDeque<(i64, InboundId)>>);

impl UnlinkedEvents {
    pub(super) fn push(&mut self, link: LinkId, received_at_ms: i64, event: InboundId) {
        self.0.entry(link).or_default().push_back((received_at_ms, event));
    }

    /// How many there are, by link.
    pub(super) fn counts(&self) -> impl Iterator<Item = (LinkId, usize)> {
        self.0.iter().filter(|(_, events)| !events.is_empty()).map(|(link, events)| (link.clone(), events.len()))
    }

    /// Removes one; returns when it was recorded, if it was there.
    pub(super) fn remove(&mut self, link: &LinkId, event: InboundId) -> Option<i64> {
        let events = self.0.get_mut(link)?;
        let at = events.iter().position(|(_, waiting)| *waiting == event)?;
        events.remove(at).map(|(received_at_ms, _)| received_at_ms)
    }

    /// Takes those that were recorded before `oldest_ms`, at most `limit`.
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
    use caduceus_contract::messages::relay::LinkState;

    #[test]
    fn replies_are_sent_again_one_round_at_a_time_and_not_while_their_link_is_down() {
        let (mut links, link) = (LinkTable::default(), LinkId::process());
        assert!(!links.begin_resend(&link));
        let descriptors = Some(Arc::from([]));
        links.set(&LinkChanged { link: link.clone(), state: LinkState::Connected, descriptors });
        assert!(links.begin_resend(&link) && !links.begin_resend(&link));
        assert!(links.end_resend(&link), "more were added meanwhile");
        assert!(links.begin_resend(&link) && !links.end_resend(&link));
        links.set(&LinkChanged { link: link.clone(), state: LinkState::Waiting, descriptors: None });
        assert!(!links.begin_resend(&link));
    }

    #[test]
    fn old_replies_are_looked_for_at_the_first_check_and_then_rarely() {
        let mut links = LinkTable::default();
        let due: Vec<_> = (0..7).filter(|_| links.is_check_for_old_replies(3)).collect();
        assert_eq!(due, [0, 3, 6]);
    }

    #[test]
    fn events_of_a_removed_link_are_given_up_by_age_a_few_at_a_time() {
        let (gone, other) = (LinkId("relay-gone".into()), LinkId("relay-other".into()));
        let mut unlinked = UnlinkedEvents::default();
        for (at, id) in [(10, 1), (20, 2), (30, 3)] {
            unlinked.push(gone.clone(), at, InboundId(id));
        }
        unlinked.push(other.clone(), 5, InboundId(4));
        assert_eq!(unlinked.take_old(25, 2), [InboundId(1), InboundId(2)]);
        assert_eq!(unlinked.take_old(25, 2), [InboundId(4)]);
        assert_eq!(unlinked.take_old(25, 2), []);
        assert_eq!((unlinked.remove(&gone, InboundId(1)), unlinked.remove(&other, InboundId(3))), (None, None));
        assert_eq!(unlinked.counts().collect::<Vec<_>>(), [(gone.clone(), 1)]);
        assert_eq!((unlinked.remove(&gone, InboundId(3)), unlinked.counts().count()), (Some(30), 0));
    }
}
