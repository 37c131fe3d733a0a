//! Sends notices of the gateway itself to a chat, and replies again that may not have arrived.

use std::sync::Arc;
use std::time::Instant;

use tracing::{debug, warn};

use super::counts::Dropped;
use super::notice::Notice;
use super::notice_limit::NoticeAdmission;
use super::ports::{DispatchPorts, GATE_TIMEOUT};
use crate::outbox::{Outbox, is_pending, is_unsent, mark_after};
use crate::turn::fit::fit;
use caduceus_contract::json::RawJson;
use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::messages::ledger::{MarkOutbound, OutboundId, OutboundRow, OutboundState, RecordOutbound};
use caduceus_contract::messages::relay::GetLink;
use caduceus_contract::wire::action::{Action, ActionResult};
use caduceus_contract::wire::action_result::NotSent;
use caduceus_contract::wire::descriptor::Descriptor;
use caduceus_supervision::spawn;

/// Sends `text` to the chat of `target`. The ledger receives it before any later request, whether or not the future is
/// polled: an event must not be marked as notified before the notice is on disk.
pub(super) fn send_notice(
    ports: Arc<DispatchPorts>,
    target: Arc<Target>,
    text: String,
) -> impl Future<Output = ()> + 'static {
    let action =
        Action::Send { chat_id: target.chat_id.clone(), content: text, reply_to: None, metadata: target.metadata() };
    let record = RecordOutbound {
        inbound: None,
        turn: None,
        number: None,
        target: target.clone(),
        action: RawJson::of(&action),
        state: OutboundState::Sending,
    };
    let recorded = ports.outbox.record_notice(record);
    async move {
        match recorded.await {
            Ok(id) => {
                let link = target.link.clone();
                let result = send_parts(&ports, target, action, false).await;
                record_result(&ports, id, link, &result).await;
            }
            Err(error) => warn!(%error, "notice not written to the ledger, and not sent"),
        }
    }
}

/// Whether the other replies of the same link can be sent after one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterResend {
    /// Yes.
    Continue,
    /// Not before the link comes up again.
    LinkDown,
    /// Not now: the link or the ledger takes no more at present.
    Pause,
}

impl AfterResend {
    /// After a reply that was sent, or was not for this reason.
    pub(super) fn of(not_sent: Option<NotSent>) -> Self {
        match not_sent {
            None => Self::Continue,
            Some(NotSent::NoLink) => Self::LinkDown,
            Some(NotSent::QueueFull) => Self::Pause,
        }
    }
}

/// Sends a recorded reply: without a mark if it was never sent, with one if it may have arrived.
pub(super) async fn resend(ports: &Arc<DispatchPorts>, row: OutboundRow) -> AfterResend {
    let parsed = serde_json::from_str(&row.action).ok().and_then(|value| Action::parse(&value).ok());
    let Some(action) = parsed else {
        give_up(ports, row, Some("unreadable".to_owned())).await;
        return AfterResend::Continue;
    };
    let plain = is_unsent(row.state);
    if plain && let Err(error) = ports.outbox.begin_sending(row.id).await {
        warn!(row = row.id.0, %error, "reply not sent again yet");
        ports.outbox.take_back(row.id);
        return AfterResend::Pause;
    }
    let target = row.target;
    let result = send_parts(ports, target.clone(), action, !plain).await;
    let (not_sent, state) = (result.not_sent, OutboundState::after(&result));
    if not_sent == Some(NotSent::QueueFull) {
        debug!(row = row.id.0, link = %target.link.0, "reply not sent again yet: the queue of its link is full");
    }
    let next = AfterResend::of(not_sent);
    if !plain {
        if not_sent.is_some() {
            // It was not sent this time; an earlier attempt may still have sent it.
            return next;
        }
        // Only a reply that was handed to the link counts as an attempt.
        if let Err(error) = ports.outbox.begin_sending(row.id).await {
            warn!(row = row.id.0, %error, "attempt to send a reply not counted");
        }
    }
    record_result(ports, row.id, target.link.clone(), &result).await;
    // A refused notice causes no further notice.
    if state == OutboundState::Refused
        && row.inbound.is_some()
        && let Some(sent) = lost_notice(ports, target)
    {
        sent.await;
    }
    next
}

/// Sends `action` within the present limits of the platform, perhaps as several messages; `repeat`: it may be in the chat already.
async fn send_parts(ports: &Arc<DispatchPorts>, target: Arc<Target>, action: Action, repeat: bool) -> ActionResult {
    let Some(link) = ports.links.get(&target.link) else {
        return ActionResult::failed("the link is no longer configured");
    };
    // The limit may have changed since it was split.
    let descriptor = descriptor_of(ports, &target).await;
    let mut first = None;
    for action in fit(action, &descriptor, repeat) {
        let result = Outbox::send(&link.send, target.clone(), RawJson::of(&action)).await;
        if !result.success {
            // A part of it is in the chat, so the next attempt may repeat that part.
            let partly_sent = result.not_sent.is_some() && first.is_some();
            return if partly_sent { ActionResult::ambiguous("only a part was sent") } else { result };
        }
        first.get_or_insert(result);
    }
    first.unwrap_or_else(|| ActionResult::failed("the action has no content"))
}

/// The present descriptor of a chat's platform, requested from its link.
async fn descriptor_of(ports: &Arc<DispatchPorts>, target: &Target) -> Arc<Descriptor> {
    let Some(link) = ports.links.get(&target.link) else { return Arc::default() };
    let Ok(view) = link.view.ask(GetLink, GATE_TIMEOUT).await else {
        return Arc::default();
    };
    let own = view.descriptors.iter().find(|descriptor| descriptor.platform == target.platform);
    own.or(view.descriptors.first()).cloned().unwrap_or_default()
}

/// Records the outcome; a reply that may not have arrived is sent again.
async fn record_result(ports: &Arc<DispatchPorts>, id: OutboundId, link: LinkId, result: &ActionResult) {
    let mark = mark_after(id, result);
    let state = mark.state;
    if state == OutboundState::Refused {
        warn!(row = id.0, error = result.error, "notice refused by the connector");
    }
    ports.outbox.mark(mark).await;
    if is_pending(state) {
        ports.outbox.report_pending(Some(id), link);
    }
}

async fn mark(ports: &Arc<DispatchPorts>, id: OutboundId, state: OutboundState, error: Option<String>) {
    ports.outbox.mark(MarkOutbound { id, state, message_id: None, error }).await;
}

/// Gives up a reply: it was sent too often, or is too old or unreadable. Its chat is notified; of a notice that is given up it is not.
pub(super) async fn give_up(ports: &Arc<DispatchPorts>, row: OutboundRow, error: Option<String>) {
    warn!(row = row.id.0, link = %row.target.link.0, attempts = row.attempts, error, "reply given up");
    ports.counts.dropped(Dropped::Reply);
    // Without its link no notice arrives.
    if row.inbound.is_some() && ports.links.contains_key(&row.target.link) {
        // The ledger has the notice before the reply is given up there: a crash between the two repeats the notice.
        if let Some(sent) = lost_notice(ports, row.target) {
            spawn(sent);
        }
    }
    mark(ports, row.id, OutboundState::Dead, error).await;
    ports.status.report();
}

/// The notice to the chat of `target` that a reply is lost, unless it got the same within the interval.
fn lost_notice(ports: &Arc<DispatchPorts>, target: Arc<Target>) -> Option<impl Future<Output = ()> + use<>> {
    match ports.reply_notices.admit(&target, Instant::now()) {
        NoticeAdmission::Send => Some(send_notice(Arc::clone(ports), target, Notice::ReplyLost.text())),
        NoticeAdmission::SentLately => None,
        NoticeAdmission::TooManyChats { is_first } => {
            notice_dropped(ports, Notice::ReplyLost.reason(), is_first);
            None
        }
    }
}

/// A notice is not sent, because too many chats got one a short time ago. Logged once an interval.
pub(super) fn notice_dropped(ports: &DispatchPorts, reason: &str, is_first: bool) {
    ports.counts.dropped(Dropped::Notice);
    if is_first {
        warn!(reason, "notices not sent: too many chats got one within a minute");
    }
}
