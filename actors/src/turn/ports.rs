//! The ports of a turn.

use crate::profile::agent::messages::AgentPorts;
use crate::profile::redact::Redactor;
use caduceus_contract::messages::dispatch::ReplyPending;
use caduceus_contract::messages::ledger::{LoadHistory, MarkOutbound, RecordOutbound};
use caduceus_contract::messages::relay::SendAction;
use caduceus_contract::messages::turn::{StopTurn, TurnEnded};
use caduceus_supervision::{Port, port_set};

/// The ports of a turn.
#[derive(Debug, Clone)]
pub struct TurnPorts {
    /// The turn's profile.
    pub agent: AgentPorts,
    /// The link of the event, for the replies.
    pub send: Port<SendAction>,
    /// The ledger.
    pub ledger: TurnLedgerPorts,
    /// The dispatcher.
    pub dispatch: TurnDispatchPorts,
    /// The turn itself, for the gate, which stops remaining turns at the end of a drain.
    pub stop: Port<StopTurn>,
    /// Redacts the agent's standard error.
    pub redactor: Redactor,
}

port_set! {
    /// The ports of a turn to the ledger.
    pub struct TurnLedgerPorts {
        /// Reads the conversation so far.
        pub load_history: Port<LoadHistory>,
        /// Records a reply before it is sent.
        pub record_outbound: Port<RecordOutbound>,
        /// Sets the state of a reply.
        pub mark_outbound: Port<MarkOutbound>,
    }
}

port_set! {
    /// The ports of a turn to the dispatcher.
    pub struct TurnDispatchPorts {
        /// Reports the end of the turn.
        pub ended: Port<TurnEnded>,
        /// Reports a reply that could not be sent.
        pub reply_pending: Port<ReplyPending>,
    }
}
