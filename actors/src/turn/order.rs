//! What starts a turn.

use std::sync::Arc;

use serde_json::Value;

use crate::drain::permit::TurnPermit;
use caduceus_contract::link::Target;
use caduceus_contract::messages::ledger::InboundId;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::descriptor::Descriptor;
use caduceus_contract::wire::event::InboundEvent;
use caduceus_contract::wire::session::SessionKey;

/// All that a turn needs to begin. It holds the turn's permit.
#[derive(Debug)]
pub struct TurnOrder {
    /// Which turn.
    pub id: TurnId,
    /// The event it answers.
    pub inbound: InboundId,
    /// Under which profile it runs.
    pub profile: ProfileName,
    /// In which session it runs.
    pub session: SessionKey,
    /// Counts the attempts at this event, from 1.
    pub attempt: u32,
    /// The event, as understood.
    pub event: Arc<InboundEvent>,
    /// The event, as received.
    pub raw_event: Arc<Value>,
    /// Where replies go.
    pub target: Target,
    /// What the platform of the chat can do.
    pub descriptor: Descriptor,
    /// The turn's place in the count.
    pub permit: TurnPermit,
}
