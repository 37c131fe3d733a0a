//! The ports of a turn.

use crate::profile::agent::messages::{AuthorisedCall, GetAgent, SpawnChild};
use crate::profile::redact::Redactor;
use caduceus_contract::messages::dispatch::ReplyLeft;
use caduceus_contract::messages::ledger::{LoadHistory, MarkOutbound, RecordOutbound};
use caduceus_contract::messages::relay::SendAction;
use caduceus_contract::messages::turn::{StopTurn, TurnEnded};
use caduceus_supervision::Port;

/// The ports of a turn.
#[derive(Debug, Clone)]
pub struct TurnPorts {
    /// The turn's profile, for the configuration of its agent.
    pub agent: Port<GetAgent>,
    /// The same, for starting it.
    pub spawn: Port<SpawnChild>,
    /// The same, for calling one that is a server.
    pub call: Port<AuthorisedCall>,
    /// The link that the event came over.
    pub send: Port<SendAction>,
    /// The ledger, for the conversation so far.
    pub history: Port<LoadHistory>,
    /// The same, for new messages.
    pub record: Port<RecordOutbound>,
    /// The same.
    pub mark: Port<MarkOutbound>,
    /// The dispatcher.
    pub ended: Port<TurnEnded>,
    /// The same, for replies that could not be sent.
    pub left: Port<ReplyLeft>,
    /// The turn itself, for the gate, which stops remaining turns at the end of a drain.
    pub stop: Port<StopTurn>,
    /// Redacts the agent's standard error.
    pub redactor: Redactor,
}
