//! Words of the gateway itself on their way to a chat: written down, sent, and moved on by what the connector answers.

use tracing::{error, warn};

use super::ports::{DispatchPorts, LEDGER_PATIENCE, SEND_PATIENCE};
use crate::ledger::messages::{MarkOutbound, OutboundId, OutboundRow, OutboundState, RecordOutbound};
use crate::relay::action::{Action, ActionResult};
use crate::relay::messages::{SendAction, Target};

/// What stands before a reply that may have been delivered already.
const REPEAT_MARK: &str = "(may be a repeat) ";

/// Says `text` in the chat of `target`. The ledger has it before whatever it is asked after this call, polled or not: an
/// event must not be marked as one whose chat was told before the words are on disk.
pub(super) fn say(ports: DispatchPorts, target: Target, text: String) -> impl Future<Output = ()> + 'static {
    let action =
        Action::Send { chat_id: target.chat_id.clone(), content: text, reply_to: None, metadata: target.metadata() };
    let written = serde_json::to_string(&action).expect("an action always has a JSON form");
    let record = RecordOutbound {
        inbound: None,
        turn: None,
        target: target.clone(),
        action: written,
        state: OutboundState::Sending,
    };
    let recorded = ports.record_outbound.ask(record, LEDGER_PATIENCE);
    async move {
        match recorded.await {
            Ok(Ok(id)) => send(&ports, id, target, action).await,
            Ok(Err(error)) => warn!(%error, "a notice was not written down, and so not sent"),
            Err(error) => warn!(%error, "a notice was not written down, and so not sent"),
        }
    }
}

/// Sends again what lies in the ledger: plainly if it never left, with a mark if it may have.
pub(super) async fn resend(ports: &DispatchPorts, row: OutboundRow) {
    let parsed = serde_json::from_str(&row.action).ok().and_then(|value| Action::parse(&value).ok());
    let Some(mut action) = parsed else {
        error!(row = row.id.0, "a reply in the ledger no longer reads; it is given up");
        return mark(ports, row.id, OutboundState::Dead, None, Some("unreadable".to_owned())).await;
    };
    if row.state != OutboundState::Pending {
        mark_as_repeat(&mut action);
    }
    mark(ports, row.id, OutboundState::Sending, None, None).await;
    send(ports, row.id, row.target, action).await;
}

async fn send(ports: &DispatchPorts, id: OutboundId, target: Target, action: Action) {
    let result = match ports.links.get(&target.link) {
        None => ActionResult::failed("there is no such link any more"),
        Some(link) => link.send.ask(SendAction { target, action }, SEND_PATIENCE).await.unwrap_or_else(|error| {
            // The link's actor was lost with the question: it may have been written.
            ActionResult::ambiguous(error.to_string())
        }),
    };
    let state = match (&result, result.error.as_deref()) {
        (ActionResult { success: true, .. }, _) => OutboundState::Delivered,
        (ActionResult { ambiguous: true, .. }, _) => OutboundState::Ambiguous,
        (_, Some(crate::relay::NOT_CONNECTED)) => OutboundState::Pending,
        _ => OutboundState::Refused,
    };
    mark(ports, id, state, result.message_id, result.error).await;
}

async fn mark(
    ports: &DispatchPorts,
    id: OutboundId,
    state: OutboundState,
    message_id: Option<String>,
    error: Option<String>,
) {
    match ports.mark_outbound.ask(MarkOutbound { id, state, message_id, error }, LEDGER_PATIENCE).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => error!(row = id.0, ?state, %error, "a reply was not moved on in the ledger"),
        Err(error) => error!(row = id.0, ?state, %error, "a reply was not moved on in the ledger"),
    }
}

/// Says in the text, and to the connector, that this may have been delivered already.
fn mark_as_repeat(action: &mut Action) {
    if let Action::Send { content, .. } | Action::FollowUp { content, .. } = action
        && !content.starts_with(REPEAT_MARK)
    {
        content.insert_str(0, REPEAT_MARK);
    }
    if let Some(metadata) = action.metadata_mut() {
        metadata.insert("repeat".to_owned(), true.into());
    }
}

/// Gives up on a reply: too many attempts, or too old.
pub(super) async fn give_up(ports: &DispatchPorts, id: OutboundId) {
    warn!(row = id.0, "a reply is given up");
    mark(ports, id, OutboundState::Dead, None, None).await;
}
