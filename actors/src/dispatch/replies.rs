//! Replies that never arrived, sent again when their link comes up.

use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use tracing::warn;

use super::actor::DispatchActor;
use super::messages::ReplyLeft;
use super::outbox;
use super::ports::{DispatchPorts, LEDGER_TIMEOUT, MAX_ATTEMPTS};
use crate::ledger::messages::{ListOutbound, OutboundRow, OutboundState};
use crate::relay::messages::LinkId;

/// Pause before a reply that could not be sent is tried again, if its link is up.
const REPLY_PAUSE: Duration = Duration::from_secs(1);
/// Rows asked for at once.
const PAGE: usize = 10_000;
/// Older replies are of no use to anyone.
const MAX_REPLY_AGE: Duration = Duration::from_hours(24);

impl DispatchActor {
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

impl Handler<ReplyLeft> for DispatchActor {
    type Result = ();

    // Between its last word of the link and this the link may have come up. Not at once, or a link that takes nothing would be
    // asked as fast as the disk writes.
    fn handle(&mut self, news: ReplyLeft, ctx: &mut Self::Context) {
        ctx.run_later(REPLY_PAUSE, |actor, ctx| actor.catch_up(news.link, ctx));
    }
}

async fn resend_all(ports: DispatchPorts, link: LinkId, process_started_ms: i64) {
    let states = vec![OutboundState::Pending, OutboundState::Sending, OutboundState::Ambiguous];
    let question = ListOutbound { states, after: None, limit: PAGE };
    let rows = match ports.list_outbound.ask(question, LEDGER_TIMEOUT).await {
        Ok(Ok(rows)) => rows,
        Ok(Err(error)) => return warn!(%error, "replies that wait for the link cannot be read"),
        Err(error) => return warn!(%error, "replies that wait for the link cannot be read"),
    };
    for row in rows.into_iter().filter(|row| row.target.link == link) {
        // One that is being sent by this very process has its answer to come.
        if row.state == OutboundState::Sending && row.recorded_at_ms >= process_started_ms {
            continue;
        }
        if is_given_up(&row) {
            outbox::give_up(&ports, row.id).await;
        } else if !outbox::resend(&ports, row).await {
            // The next time that it comes up begins a round of its own.
            return;
        }
    }
}

fn is_given_up(row: &OutboundRow) -> bool {
    let age = jiff::Timestamp::now().as_millisecond().saturating_sub(row.recorded_at_ms);
    row.attempts > MAX_ATTEMPTS || u128::try_from(age).is_ok_and(|age| age > MAX_REPLY_AGE.as_millis())
}
