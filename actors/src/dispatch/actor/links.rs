//! Changes of a link: waiting events start, replies are sent again, the start is announced.

use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, Handler, Message};
use tracing::{debug, warn};

use super::super::replies::{give_up_old, resend_all};
use super::DispatchActor;
use crate::time::now_ms;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::dispatch::ReplyPending;
use caduceus_contract::messages::ledger::InboundState;
use caduceus_contract::messages::relay::{LinkChanged, ResendLinkState};

/// Interval of queries to links that are not up: the message about a change may have been lost.
const LINK_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long events wait for a link that is no longer configured; the same as for replies.
const UNLINKED_MAX_AGE: Duration = Duration::from_hours(24);
/// Checks after which old replies are looked for: a minute.
const CHECKS_FOR_OLD_REPLIES: u32 = 12;
/// Most events given up at one check.
const UNLINKED_BATCH: usize = 500;

/// Pause before a reply that could not be sent is tried again, if its link is up.
const REPLY_PAUSE: Duration = Duration::from_secs(1);

/// The replies that wait for a link were sent, as far as that was possible.
#[derive(Message)]
#[rtype(result = "()")]
struct RepliesResent(LinkId);

/// The replies that wait for a link are to be sent.
#[derive(Message)]
#[rtype(result = "()")]
struct ResendReplies(LinkId);

impl DispatchActor {
    /// From now on checks the links every [`LINK_CHECK_INTERVAL`].
    pub(super) fn watch_links(ctx: &mut Context<Self>) {
        ctx.run_interval(LINK_CHECK_INTERVAL, |actor, ctx| {
            actor.check_links();
            // The message about a slot may have been lost as well.
            let steps = actor.plan.start_next();
            if !steps.is_empty() {
                actor.carry_out(steps, ctx);
            }
        });
    }

    /// A link came up, went down, or sent more descriptors.
    fn link_changed(&mut self, changed: &LinkChanged, ctx: &mut Context<Self>) {
        self.links.set(changed);
        let steps = self.plan.link(&changed.link, changed.descriptors.is_some());
        self.carry_out(steps, ctx);
        if changed.descriptors.is_some() {
            self.resend_replies(changed.link.clone());
            self.announce_start();
        }
    }

    /// Makes each of these links send its state again.
    pub(super) fn request_link_states<'a>(&self, links: impl IntoIterator<Item = &'a LinkId>) {
        let request = ResendLinkState { dispatcher: self.settings.share().number() };
        for link in links {
            if let Some(Err(error)) = self.ports.links.get(link).map(|ports| ports.resend_state.tell(request)) {
                debug!(link = %link.0, %error, "request for the state of the link not sent");
            }
        }
    }

    /// Logs the links for which events wait, queries those that are down, and gives up events that waited too long for a link that
    /// is no longer configured, and replies that waited too long for one that is down.
    fn check_links(&mut self) {
        let awaited = self.plan.counts().awaiting_link;
        for (link, events) in &awaited {
            if self.links.log_waiting(link) {
                warn!(link = %link.0, events, "events wait for their link to come up");
            }
        }
        self.request_link_states(self.ports.links.keys().filter(|link| !self.links.is_up(link)));
        let age = i64::try_from(UNLINKED_MAX_AGE.as_millis()).unwrap_or(i64::MAX);
        let old = self.links.unlinked_mut().take_old(now_ms() - age, UNLINKED_BATCH);
        if !old.is_empty() {
            warn!(
                events = old.len(),
                "events waited too long for a link that is no longer configured; they are given up"
            );
            self.ports.status.report();
        }
        for event in old {
            self.mark(event, InboundState::Dead, None, Some("its link is no longer configured".to_owned()));
        }
        if self.settings.share().is_first() && self.links.is_check_for_old_replies(CHECKS_FOR_OLD_REPLIES) {
            self.tasks.run(give_up_old(Arc::clone(&self.ports), self.links.up()));
        }
    }

    /// Announces the start in the home channel once; again at the next link change, if that failed.
    fn announce_start(&self) {
        if let Some(home) = &self.settings.fixed.home
            && let Some(announced) = home.announce_start(&self.ports)
        {
            self.tasks.run(announced);
        }
    }

    /// Sends the replies that wait for `link`, if it is up. The first dispatcher sends those of all, because no reply may be sent twice.
    pub(super) fn resend_replies(&mut self, link: LinkId) {
        if !self.settings.share().is_first() || !self.links.begin_resend(&link) {
            return;
        }
        let resent = resend_all(Arc::clone(&self.ports), link.clone(), self.settings.fixed.process_started_ms);
        self.tasks.notify(async move {
            resent.await;
            RepliesResent(link)
        });
    }
}

impl Handler<LinkChanged> for DispatchActor {
    type Result = ();

    fn handle(&mut self, changed: LinkChanged, ctx: &mut Self::Context) {
        self.link_changed(&changed, ctx);
    }
}

impl Handler<ReplyPending> for DispatchActor {
    type Result = ();

    // The link may have come up since its last report. After a pause, because a link that accepts nothing would be tried as fast
    // as the disk writes.
    fn handle(&mut self, reply: ReplyPending, ctx: &mut Self::Context) {
        ctx.notify_later(ResendReplies(reply.link), REPLY_PAUSE);
    }
}

impl Handler<ResendReplies> for DispatchActor {
    type Result = ();

    fn handle(&mut self, ResendReplies(link): ResendReplies, _: &mut Self::Context) {
        self.resend_replies(link);
    }
}

impl Handler<RepliesResent> for DispatchActor {
    type Result = ();

    fn handle(&mut self, RepliesResent(link): RepliesResent, _: &mut Self::Context) {
        if self.links.end_resend(&link) {
            self.resend_replies(link);
        }
    }
}
