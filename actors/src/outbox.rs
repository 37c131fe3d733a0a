//! The way of a message to a chat: into the ledger, over its link, and its result into the ledger. Replies of turns, notices of the
//! gateway, and replies that are sent again all take it. Holds no state: what is on its way is in the ledger.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt as _;
use tracing::{debug, error};

use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::messages::dispatch::ReplyPending;
use caduceus_contract::messages::ledger::{LedgerError, MarkOutbound, OutboundId, OutboundState, RecordOutbound};
use caduceus_contract::messages::relay::SendAction;
use caduceus_contract::wire::action::{Action, ActionResult};
use caduceus_contract::wire::action_result::NotSent;
use caduceus_supervision::{AskError, Port, PortsTo};

/// Timeout of the ledger; a commit takes milliseconds, and a full disk can block for any time.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of one action: the link itself answers within 30 s.
const SEND_TIMEOUT: Duration = Duration::from_secs(45);
/// Restarts of the ledger during one request after which the request is not sent again.
const MARK_RETRIES: u32 = 10;

/// The ports of the way to a chat. A clone allocates nothing.
#[derive(Debug, Clone)]
pub struct Outbox(Arc<OutboxPorts>);

#[derive(Debug)]
struct OutboxPorts {
    record: Port<RecordOutbound>,
    mark: Port<MarkOutbound>,
    pending: Port<ReplyPending>,
}

/// Why a message is not in the ledger. It must not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotRecorded {
    /// The process is stopping, or the sender was replaced: another attempt cannot help.
    #[error("the ledger is closed")]
    Closed,
    /// Worth another attempt.
    #[error("{0}")]
    NoAnswer(String),
}

impl Outbox {
    /// The outbox over `ledger`, which reports messages that wait for their link to `dispatch`.
    pub fn of<L, D>(ledger: &L, dispatch: &D) -> Self
    where
        Port<RecordOutbound>: PortsTo<L>,
        Port<MarkOutbound>: PortsTo<L>,
        Port<ReplyPending>: PortsTo<D>,
    {
        Self(Arc::new(OutboxPorts {
            record: PortsTo::ports_to(ledger),
            mark: PortsTo::ports_to(ledger),
            pending: PortsTo::ports_to(dispatch),
        }))
    }

    /// Records a message before it is sent. The ledger has the request before any later one, whether or not the future is polled.
    pub(crate) fn record(
        &self,
        message: RecordOutbound,
    ) -> impl Future<Output = Result<OutboundId, NotRecorded>> + use<> {
        let recorded = self.0.record.ask(message, LEDGER_TIMEOUT);
        async move {
            match recorded.await {
                Ok(Ok(row)) => Ok(row),
                Ok(Err(LedgerError::Closed)) | Err(AskError::Fenced) => Err(NotRecorded::Closed),
                Ok(Err(error)) => Err(NotRecorded::NoAnswer(error.to_string())),
                Err(error) => Err(NotRecorded::NoAnswer(error.to_string())),
            }
        }
    }

    /// Changes the state of a message. The request is sent before the future is first polled, and again if the ledger restarts before it
    /// answers. A failure is logged: a message that stays `sending` is sent again with a mark that it may be a repeat.
    pub(crate) fn mark(&self, mark: MarkOutbound) -> impl Future<Output = ()> + use<> {
        let ports = Arc::clone(&self.0);
        let mut request = Box::pin(ports.mark.ask(mark.clone(), LEDGER_TIMEOUT));
        async move {
            let mut marked = request.as_mut().await;
            for _ in 0..MARK_RETRIES {
                if marked != Err(AskError::Closed) {
                    break;
                }
                request.set(ports.mark.ask(mark.clone(), LEDGER_TIMEOUT));
                marked = request.as_mut().await;
            }
            let reason = match marked {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            error!(row = mark.id.0, state = ?mark.state, reason, "reply state not updated in the ledger");
        }
    }

    /// Sends one action over a link. The link has the request before any later one, whether or not the future is polled.
    pub(crate) fn send(
        link: &Port<SendAction>,
        target: Arc<Target>,
        action: Action,
    ) -> impl Future<Output = ActionResult> + use<> {
        let sent = link.ask(SendAction { target, action }, SEND_TIMEOUT);
        sent.map(|sent| {
            sent.unwrap_or_else(|error| match error {
                AskError::Full => ActionResult::not_sent(NotSent::QueueFull, error.to_string()),
                AskError::Fenced => ActionResult::not_sent(NotSent::NoLink, error.to_string()),
                // The link's actor was lost with the request: it may have been sent.
                AskError::Closed | AskError::Timeout => ActionResult::ambiguous(error.to_string()),
            })
        })
    }

    /// Reports a message that is sent again when its link is up.
    pub(crate) fn report_pending(&self, row: OutboundId, link: LinkId) {
        if let Err(error) = self.0.pending.tell(ReplyPending { link }) {
            debug!(row = row.0, %error, "message waits until its link is up again");
        }
    }
}

/// The mark of a message after the answer of its link.
pub(crate) fn mark_after(row: OutboundId, result: &ActionResult) -> MarkOutbound {
    MarkOutbound {
        id: row,
        state: OutboundState::after(result),
        message_id: result.message_id.clone(),
        error: result.error.clone(),
    }
}

/// Whether a message in this state is sent again when its link is up.
pub(crate) fn is_pending(state: OutboundState) -> bool {
    matches!(state, OutboundState::Pending | OutboundState::Ambiguous)
}
