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
    /// Receives the events.
    pub dispatch: Port<OfferEvents>,
    /// Stores frames that cannot be used.
    pub ledger: Port<RecordInbound>,
    /// Stops a session.
    pub stop_session: Port<StopSession>,
    /// Receive every change of state, in order.
    pub changes: Vec<Port<LinkChanged>>,
    /// Receives a notification when the status has changed.
    pub status: StatusChanges,
}
