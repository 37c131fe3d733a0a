//! What came in and is to be written down: one event, whatever kind of frame carried it, or a frame that cannot be used.

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::dead_letter::DeadLetter;
use caduceus_contract::wire::event::InboundEvent;
use caduceus_contract::wire::frame::{FrameError, Inbound, PassthroughForward};
use caduceus_contract::wire::interaction::{self, InteractionError};
use caduceus_contract::wire::lines::{LineTooLong, PassedLine};

/// Most places that arrivals take at a time, over all connections of a link.
pub(super) const PLACES: u32 = 256;

/// So many bytes of a line take one place more: what waits is bounded in bytes as well.
const BYTES_A_PLACE: usize = 64 * 1024;

/// A frame on its way into the ledger.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) cargo: Cargo,
    pub(super) buffer_id: Option<String>,
    pub(super) digest: [u8; 32],
    /// Given back once the frame is answered, and its acknowledgement written.
    pub(super) place: OwnedSemaphorePermit,
}

/// What a frame brings.
#[derive(Debug)]
pub(super) enum Cargo {
    /// For the dispatcher.
    Event(EventCargo),
    /// For the ledger alone.
    Dead(DeadLetter),
}

/// An event, and what the frame says of it.
#[derive(Debug)]
pub(super) struct EventCargo {
    pub(super) event: Arc<InboundEvent>,
    pub(super) raw_event: Arc<Value>,
    /// The identity that the frame itself names.
    pub(super) bot_id: Option<String>,
    /// Whether it was made from a forwarded request.
    pub(super) forwarded: bool,
}

/// Why a frame is no event. Shows nothing of what it says.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArrivalError {
    /// The frame is broken.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The forwarded request is none that we understand.
    #[error(transparent)]
    Interaction(#[from] InteractionError),
    /// Its type is of a later contract.
    #[error("its type is none that this gateway knows")]
    UnknownType,
}

impl EventCargo {
    /// The event of an `inbound` frame.
    pub(super) fn of_inbound(frame: &Inbound) -> Result<Self, ArrivalError> {
        let (raw, event) = frame.read()?;
        Ok(Self { event: Arc::new(event), raw_event: Arc::new(raw), bot_id: None, forwarded: false })
    }

    /// The event that a forwarded request stands for.
    pub(super) fn of_forward(frame: &PassthroughForward) -> Result<Self, ArrivalError> {
        let forward = frame.read()?;
        let mut event = interaction::event(&forward.body)?;
        event.source.profile = forward.profile;
        let mut raw = serde_json::to_value(&event).map_err(|_| FrameError::NotAnObject)?;
        // The connector keeps the right to answer; the turn names it and never holds it.
        raw["follow_up"] = interaction::FOLLOW_UP_KIND.into();
        let bot_id = Some(forward.bot_id).filter(|id| !id.is_empty());
        Ok(Self { event: Arc::new(event), raw_event: Arc::new(raw), bot_id, forwarded: true })
    }
}

impl Arrival {
    /// What the frame in `line` brings.
    pub(super) fn of(cargo: Cargo, buffer_id: Option<String>, line: &[u8], place: OwnedSemaphorePermit) -> Self {
        Self { cargo, buffer_id, digest: Sha256::digest(line).into(), place }
    }

    /// A line that was too long to be held.
    pub(super) fn passed_by(line: PassedLine, place: OwnedSemaphorePermit) -> Self {
        let letter = DeadLetter::passed_by(line.bytes, LineTooLong.to_string());
        Self { cargo: Cargo::Dead(letter), buffer_id: Some(line.buffer_id), digest: line.digest, place }
    }
}

/// Places that a line of so many bytes takes.
pub(super) fn places(bytes: usize) -> u32 {
    u32::try_from(1 + bytes / BYTES_A_PLACE).unwrap_or(PLACES).min(PLACES)
}
