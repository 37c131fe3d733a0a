//! Which links are up and what they can do; and events whose link is no more.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::{Context, Handler};
use tracing::{debug, warn};

use super::actor::DispatchActor;
use crate::ledger::messages::{InboundId, InboundState};
use crate::relay::descriptor::Descriptor;
use crate::relay::messages::{LinkChanged, LinkId, Target, TellAgain};

/// How often links are asked that are not known to be up: news of them may have been lost.
pub(super) const LOOK: Duration = Duration::from_secs(5);
/// How long events wait for a link that is no more, as replies do.
const ORPHANS_KEPT: Duration = Duration::from_hours(24);
/// Most of them that are given up at one look.
const ORPHANS_AT_ONCE: usize = 500;

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

    fn set(&mut self, news: &LinkChanged) {
        match &news.descriptors {
            Some(descriptors) => {
                self.missed.remove(&news.link);
                self.known.insert(news.link.clone(), Arc::clone(descriptors));
            }
            None => drop(self.known.remove(&news.link)),
        }
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
    fn take_old(&mut self, oldest_ms: i64, limit: usize) -> Vec<InboundId> {
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

impl DispatchActor {
    /// A link came up, went down, or said more of what it can do.
    fn link_changed(&mut self, news: &LinkChanged, ctx: &mut Context<Self>) {
        self.links.set(news);
        let steps = self.plan.link(&news.link, news.descriptors.is_some());
        self.carry_out(steps, ctx);
        if news.descriptors.is_some() {
            self.catch_up(news.link.clone(), ctx);
            self.announce_start(ctx);
        }
    }

    /// Has each of these links tell again how it is.
    pub(super) fn ask_links<'a>(&self, links: impl IntoIterator<Item = &'a LinkId>) {
        for link in links {
            if let Some(Err(error)) = self.ports.links.get(link).map(|ports| ports.tell_again.tell(TellAgain)) {
                debug!(link = %link.0, %error, "a link was not asked how it is");
            }
        }
    }

    /// Names the links for which events wait, asks those that are down, and gives up what waited too long for one that is no more.
    pub(super) fn look_at_links(&mut self, ctx: &mut Context<Self>) {
        let awaited = self.plan.counts().awaiting_link;
        for (link, events) in &awaited {
            if self.links.missed.insert(link.clone()) {
                warn!(link = %link.0, events, "events wait for their link to come up");
            }
        }
        self.ask_links(self.ports.links.keys().filter(|link| !self.links.is_up(link)));
        let age = i64::try_from(ORPHANS_KEPT.as_millis()).unwrap_or(i64::MAX);
        let old = self.orphans.take_old(jiff::Timestamp::now().as_millisecond() - age, ORPHANS_AT_ONCE);
        if !old.is_empty() {
            warn!(events = old.len(), "events waited too long for a link that is no more; they are given up");
            self.touch();
        }
        for event in old {
            self.mark(event, InboundState::Dead, None, Some("its link is no more".to_owned()), ctx);
        }
    }
}

impl Handler<LinkChanged> for DispatchActor {
    type Result = ();

    fn handle(&mut self, news: LinkChanged, ctx: &mut Self::Context) {
        self.link_changed(&news, ctx);
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
