//! The work of a turn.

use std::sync::Arc;

use serde_json::Value;

use super::id::TurnId;
use crate::ledger::messages::{HistoryEntry, InboundId};
use crate::profile::name::ProfileName;
use crate::relay::descriptor::Descriptor;
use crate::relay::event::InboundEvent;
use crate::relay::messages::Target;
use crate::relay::session::SessionKey;

/// The work of a turn: its order without the permit.
pub(super) struct TurnWork {
    pub(super) id: TurnId,
    pub(super) inbound: InboundId,
    pub(super) profile: ProfileName,
    pub(super) session: SessionKey,
    pub(super) attempt: u32,
    pub(super) event: Arc<InboundEvent>,
    pub(super) raw_event: Arc<Value>,
    pub(super) target: Target,
    pub(super) descriptor: Descriptor,
    /// Oldest first; read once the number of entries for the agent is known.
    pub(super) history: Vec<HistoryEntry>,
}
