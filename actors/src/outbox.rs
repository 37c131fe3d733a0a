//! The way of a message to a chat: into the ledger, over its link, and its result into the ledger. Replies of turns, notices of the
//! gateway, and replies that are sent again all take it. Holds no state: what is on its way is in the ledger.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt as _;
use tracing::{debug, error};

use crate::hand_over::{LEDGER_TIMEOUT, hand_over, hand_over_and_wait};
use caduceus_contract::json::RawJson;
use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::messages::dispatch::ReplyPending;
use caduceus_contract::messages::ledger::{LedgerError, MarkOutbound, OutboundId, OutboundState, RecordOutbound};
use caduceus_contract::messages::relay::SendAction;
use caduceus_contract::wire::action::ActionResult;
use caduceus_contract::wire::action_result::NotSent;
use caduceus_supervision::{AskError, Port, PortsTo, spawn};

/// Timeout of one action: the link itself answers within 30 s.
const SEND_TIMEOUT: Duration = Duration::from_secs(45);

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

    /// Records a message before it is sent. The ledger has the request before any later one, whether or not the future is polled. May be
    /// repeated without an answer if the message has a number.
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

    /// Records a notice of the gateway before it is sent. The ledger has the request before any later one, whether or not the future is
    /// polled, and owes it to the disk. Waits for as long as the disk takes: such notices are few, because without the ledger no event
    /// arrives.
    pub(crate) fn record_notice(
        &self,
        notice: RecordOutbound,
    ) -> impl Future<Output = Result<OutboundId, LedgerError>> + use<> {
        hand_over_and_wait(&self.0.record, notice, None)
    }

    /// Records that a message is about to be sent, and counts the attempt. It must not be sent if this fails: after a crash it would be
    /// sent again without a mark that it may be a repeat.
    pub(crate) async fn begin_sending(&self, row: OutboundId) -> Result<(), LedgerError> {
        let mark = MarkOutbound { id: row, state: OutboundState::Sending, message_id: None, error: None };
        hand_over(&self.0.mark, mark, None).await
    }

    /// Takes back an attempt of a message that was never sent: [`Outbox::begin_sending`] failed, and may still be carried out.
    pub(crate) fn take_back(&self, row: OutboundId) {
        spawn(self.mark(MarkOutbound { id: row, state: OutboundState::Pending, message_id: None, error: None }));
    }

    /// Changes the state of a message. The ledger has the request before any later one, whether or not the future is polled. A failure
    /// is logged.
    pub(crate) fn mark(&self, mark: MarkOutbound) -> impl Future<Output = ()> + use<> {
        let (row, state) = (mark.id.0, mark.state);
        let marked = hand_over(&self.0.mark, mark, None);
        async move {
            if let Err(error) = marked.await {
                error!(row, ?state, %error, "state of a reply not in the ledger yet");
            }
        }
    }

    /// Sends one action over a link. The link has the request before any later one, whether or not the future is polled.
    pub(crate) fn send(
        link: &Port<SendAction>,
        target: Arc<Target>,
        action: RawJson,
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

    /// Reports that there may be a message that is sent again when its link is up, such as that of `row`.
    pub(crate) fn report_pending(&self, row: Option<OutboundId>, link: LinkId) {
        if let Err(error) = self.0.pending.tell(ReplyPending { link }) {
            debug!(row = row.map(|row| row.0), %error, "message waits until its link is up again");
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

/// Whether a recorded message in this state was certainly never sent: it is recorded as being sent before it is, and has no mark. Any
/// other is sent with a mark that it may be a repeat.
pub(crate) fn is_unsent(state: OutboundState) -> bool {
    state == OutboundState::Pending
}

/// Whether a message in this state is sent again when its link is up.
pub(crate) fn is_pending(state: OutboundState) -> bool {
    matches!(state, OutboundState::Pending | OutboundState::Ambiguous)
}
