//! What follows when a link comes up or goes down: events start, replies are sent again, the home channel is told of the start.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use tracing::{debug, warn};

use super::super::messages::ReplyLeft;
use super::super::replies::resend_all;
use super::DispatchActor;
use crate::ledger::messages::InboundState;
use crate::relay::messages::{LinkChanged, LinkId, TellAgain};

/// How often links are asked that are not known to be up: news of them may have been lost.
const LOOK: Duration = Duration::from_secs(5);
/// How long events wait for a link that is no more, as replies do.
const ORPHANS_KEPT: Duration = Duration::from_hours(24);
/// Most of them that are given up at one look.
const ORPHANS_AT_ONCE: usize = 500;

/// Pause before a reply that could not be sent is tried again, if its link is up.
const REPLY_PAUSE: Duration = Duration::from_secs(1);

impl DispatchActor {
    /// From now on looks at the links every [`LOOK`].
    pub(super) fn watch_links(ctx: &mut Context<Self>) {
        ctx.run_interval(LOOK, Self::look_at_links);
    }

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
    fn look_at_links(&mut self, ctx: &mut Context<Self>) {
        let awaited = self.plan.counts().awaiting_link;
        for (link, events) in &awaited {
            if self.links.awaited(link) {
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

    /// Tells the home channel once that the gateway has started; again when the link is up, if it is not.
    fn announce_start(&self, ctx: &mut Context<Self>) {
        if let Some(home) = &self.settings.home
            && let Some(announced) = home.announce_start(&self.ports)
        {
            ctx.spawn(announced.into_actor(self));
        }
    }

    /// Sends what waits for `link`, if it is up. One round at a time, or a reply would be sent by two.
    pub(super) fn catch_up(&mut self, link: LinkId, ctx: &mut Context<Self>) {
        if !self.links.is_up(&link) {
            return;
        }
        if let Some(more) = self.catching_up.get_mut(&link) {
            *more = true;
            return;
        }
        self.catching_up.insert(link.clone(), false);
        let resent = resend_all(self.ports.clone(), link.clone(), self.settings.process_started_ms);
        ctx.spawn(resent.into_actor(self).map(move |(), actor, ctx| {
            if actor.catching_up.remove(&link) == Some(true) {
                actor.catch_up(link, ctx);
            }
        }));
    }
}

impl Handler<LinkChanged> for DispatchActor {
    type Result = ();

    fn handle(&mut self, news: LinkChanged, ctx: &mut Self::Context) {
        self.link_changed(&news, ctx);
    }
}

impl Handler<ReplyLeft> for DispatchActor {
    type Result = ();

    // Between its last word of the link and this the link may have come up. Not at once, or a link that takes nothing would be
    // asked as fast as the disk writes.
    fn handle(&mut self, news: ReplyLeft, ctx: &mut Self::Context) {
        ctx.run_later(REPLY_PAUSE, |actor, ctx| actor.catch_up(news.link, ctx));
    }
}
