//! Words of the gateway itself on their way to a chat: written down, sent, and moved on by what the connector answers.

use tracing::{debug, error, warn};

use super::messages::ReplyLeft;
use super::ports::{DispatchPorts, LEDGER_PATIENCE, MARK_RETRIES, SEND_PATIENCE};
use crate::ledger::messages::{MarkOutbound, OutboundId, OutboundRow, OutboundState, RecordOutbound};
use crate::relay::action::{Action, ActionResult};
use crate::relay::messages::{LinkId, SendAction, Target};
use crate::supervision::AskError;

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
            Ok(Ok(id)) => {
                send(&ports, id, target, action).await;
            }
            Ok(Err(error)) => warn!(%error, "a notice was not written down, and so not sent"),
            Err(error) => warn!(%error, "a notice was not written down, and so not sent"),
        }
    }
}

/// Sends again what lies in the ledger: plainly if it never left, with a mark if it may have. `false` if the link is not up.
pub(super) async fn resend(ports: &DispatchPorts, row: OutboundRow) -> bool {
    let parsed = serde_json::from_str(&row.action).ok().and_then(|value| Action::parse(&value).ok());
    let Some(mut action) = parsed else {
        error!(row = row.id.0, "a reply in the ledger no longer reads; it is given up");
        mark(ports, row.id, OutboundState::Dead, None, Some("unreadable".to_owned())).await;
        return true;
    };
    if row.state == OutboundState::Pending {
        mark(ports, row.id, OutboundState::Sending, None, None).await;
        return send(ports, row.id, row.target, action).await;
    }
    mark_as_repeat(&mut action);
    let link = row.target.link.clone();
    let result = hand_over(ports, row.target, action).await;
    if result.never_left {
        // It did not leave this time; that it may have before has to be remembered.
        return false;
    }
    // Only what was handed to the link counts as an attempt.
    mark(ports, row.id, OutboundState::Sending, None, None).await;
    settle(ports, row.id, link, result).await;
    true
}

/// Sends what has been marked as `Sending`. `false` if the link is not up.
async fn send(ports: &DispatchPorts, id: OutboundId, target: Target, action: Action) -> bool {
    let link = target.link.clone();
    let result = hand_over(ports, target, action).await;
    let up = !result.never_left;
    settle(ports, id, link, result).await;
    up
}

async fn hand_over(ports: &DispatchPorts, target: Target, action: Action) -> ActionResult {
    match ports.links.get(&target.link) {
        None => ActionResult::failed("there is no such link any more"),
        Some(link) => link.send.ask(SendAction { target, action }, SEND_PATIENCE).await.unwrap_or_else(|error| {
            // The link's actor was lost with the question: it may have been written.
            ActionResult::ambiguous(error.to_string())
        }),
    }
}

/// Writes down what became of it; what has not certainly arrived is sent again.
async fn settle(ports: &DispatchPorts, id: OutboundId, link: LinkId, result: ActionResult) {
    let state = OutboundState::after(&result);
    mark(ports, id, state, result.message_id, result.error).await;
    if matches!(state, OutboundState::Pending | OutboundState::Ambiguous)
        && let Err(error) = ports.left.tell(ReplyLeft { link })
    {
        debug!(row = id.0, %error, "it waits for the next time that its link comes up");
    }
}

async fn mark(
    ports: &DispatchPorts,
    id: OutboundId,
    state: OutboundState,
    message_id: Option<String>,
    error: Option<String>,
) {
    let order = MarkOutbound { id, state, message_id, error };
    let mut marked = ports.mark_outbound.ask(order.clone(), LEDGER_PATIENCE).await;
    for _ in 0..MARK_RETRIES {
        if marked != Err(AskError::Closed) {
            break;
        }
        marked = ports.mark_outbound.ask(order.clone(), LEDGER_PATIENCE).await;
    }
    match marked {
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
