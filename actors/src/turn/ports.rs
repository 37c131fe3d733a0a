//! The ports of a turn.

use crate::outbox::Outbox;
use crate::profile::agent::messages::AgentPorts;
use crate::profile::redact::Redactor;
use caduceus_contract::messages::ledger::LoadHistory;
use caduceus_contract::messages::relay::SendAction;
use caduceus_contract::messages::turn::{StopTurn, TurnEnded};
use caduceus_supervision::Port;

/// The ports of a turn.
#[derive(Debug, Clone)]
pub struct TurnPorts {
    /// The turn's profile.
    pub agent: AgentPorts,
    /// The link of the event, for the replies.
    pub send: Port<SendAction>,
    /// The ledger, for the conversation so far.
    pub load_history: Port<LoadHistory>,
    /// The way of its messages to the chat.
    pub outbox: Outbox,
    /// The dispatcher, for the end of the turn.
    pub ended: Port<TurnEnded>,
    /// The turn itself, for the gate, which stops remaining turns at the end of a drain.
    pub stop: Port<StopTurn>,
    /// Redacts the agent's standard error.
    pub redactor: Redactor,
}
