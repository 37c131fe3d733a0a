//! The ports of a link to other actors.

use crate::profile::messages::PrepareDial;
use crate::status::changes::StatusChanges;
use caduceus_contract::messages::dispatch::{OfferEvents, StopSession};
use caduceus_contract::messages::ledger::RecordInbound;
use caduceus_contract::messages::relay::LinkChanged;
use caduceus_supervision::Port;

/// Where a link sends its messages.
#[derive(Debug, Clone)]
pub struct RelayPorts {
    /// Answers what to dial, before each dial.
    pub profile: Port<PrepareDial>,
    /// The dispatchers, by number; each receives the events of its chats.
    pub dispatch: Vec<Port<OfferEvents>>,
    /// Stores frames that cannot be used.
    pub ledger: Port<RecordInbound>,
    /// Stops a session.
    pub stop_session: Port<StopSession>,
    /// Receive every change of state, in order: the dispatchers, by number.
    pub changes: Vec<Port<LinkChanged>>,
    /// Receives a notification when the status has changed.
    pub status: StatusChanges,
}
