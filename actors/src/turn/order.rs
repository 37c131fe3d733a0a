//! The start of a turn.

use std::sync::Arc;

use crate::drain::permit::TurnPermit;
use crate::profile::agent::AgentSettings;
use caduceus_contract::json::RawJson;
use caduceus_contract::link::Target;
use caduceus_contract::messages::ledger::InboundId;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::descriptor::Descriptor;
use caduceus_contract::wire::event::InboundEvent;
use caduceus_contract::wire::session::SessionKey;

/// The arguments of a turn, including its permit.
#[derive(Debug)]
pub struct TurnOrder {
    /// The turn.
    pub id: TurnId,
    /// The event to answer.
    pub inbound: InboundId,
    /// Its profile.
    pub profile: ProfileName,
    /// Its session.
    pub session: SessionKey,
    /// The number of this attempt at the event, from 1.
    pub attempt: u32,
    /// The event, parsed.
    pub event: Arc<InboundEvent>,
    /// The event, as received.
    pub raw_event: RawJson,
    /// The destination of replies.
    pub target: Arc<Target>,
    /// The descriptor of the chat's platform.
    pub descriptor: Arc<Descriptor>,
    /// The configuration of the profile's agent.
    pub agent: Arc<AgentSettings>,
    /// The turn's place in the count.
    pub permit: TurnPermit,
}
