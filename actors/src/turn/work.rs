//! The work of a turn.

use std::sync::Arc;

use crate::profile::agent::AgentSettings;
use caduceus_contract::json::RawJson;
use caduceus_contract::link::Target;
use caduceus_contract::messages::ledger::{HistoryEntry, InboundId};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::descriptor::Descriptor;
use caduceus_contract::wire::event::InboundEvent;
use caduceus_contract::wire::session::SessionKey;

/// The work of a turn: its order without the permit.
pub(super) struct TurnWork {
    pub(super) id: TurnId,
    pub(super) inbound: InboundId,
    pub(super) profile: ProfileName,
    pub(super) session: SessionKey,
    pub(super) attempt: u32,
    pub(super) event: Arc<InboundEvent>,
    pub(super) raw_event: RawJson,
    pub(super) target: Arc<Target>,
    pub(super) descriptor: Arc<Descriptor>,
    /// The configuration of the profile's agent.
    pub(super) agent: Arc<AgentSettings>,
    /// Oldest first; read once the number of entries for the agent is known.
    pub(super) history: Vec<HistoryEntry>,
}
