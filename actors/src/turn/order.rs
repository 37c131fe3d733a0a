//! The start of a turn.

use std::sync::Arc;

use serde_json::Value;

use super::id::TurnId;
use crate::drain::permit::TurnPermit;
use crate::ledger::messages::InboundId;
use crate::profile::name::ProfileName;
use crate::relay::descriptor::Descriptor;
use crate::relay::event::InboundEvent;
use crate::relay::messages::Target;
use crate::relay::session::SessionKey;

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
    pub raw_event: Arc<Value>,
    /// The destination of replies.
    pub target: Target,
    /// The descriptor of the chat's platform.
    pub descriptor: Descriptor,
    /// The turn's place in the count.
    pub permit: TurnPermit,
}
