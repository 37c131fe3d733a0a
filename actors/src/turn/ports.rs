//! What a turn asks and reports to.

use crate::profile::agent::messages::{AuthorisedCall, GetAgent, SpawnChild};
use crate::profile::redact::Redactor;
use caduceus_contract::messages::dispatch::ReplyLeft;
use caduceus_contract::messages::ledger::{LoadHistory, MarkOutbound, RecordOutbound};
use caduceus_contract::messages::relay::SendAction;
use caduceus_contract::messages::turn::{StopTurn, TurnEnded};
use caduceus_supervision::Port;

/// What a turn asks and reports to.
#[derive(Debug, Clone)]
pub struct TurnPorts {
    /// The turn's profile, for how its agent is run.
    pub agent: Port<GetAgent>,
    /// The same, for starting it.
    pub spawn: Port<SpawnChild>,
    /// The same, for calling one that is a server.
    pub call: Port<AuthorisedCall>,
    /// The link that the event came over.
    pub send: Port<SendAction>,
    /// The ledger, for what was said before.
    pub history: Port<LoadHistory>,
    /// The same, for what is said now.
    pub record: Port<RecordOutbound>,
    /// The same.
    pub mark: Port<MarkOutbound>,
    /// The dispatcher.
    pub ended: Port<TurnEnded>,
    /// The same, for replies that could not be sent.
    pub left: Port<ReplyLeft>,
    /// This very turn, for the gate, which stops what is left at the end of a drain.
    pub stop: Port<StopTurn>,
    /// Cleans what the agent writes to its standard error.
    pub redactor: Redactor,
}
