//! What came in for the dispatcher: one event, whatever kind of frame carried it.

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::event::InboundEvent;
use super::frame::{FrameError, Inbound, PassthroughForward};
use super::interaction::{self, InteractionError};

/// Most places that arrivals take at a time, over all connections of a link.
pub(super) const PLACES: u32 = 256;

/// So many bytes of a line take one place more: what waits is bounded in bytes as well.
const BYTES_A_PLACE: usize = 64 * 1024;

/// An event on its way to the dispatcher.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) event: Arc<InboundEvent>,
    pub(super) raw_event: Arc<Value>,
    pub(super) buffer_id: Option<String>,
    /// The identity that the frame itself names.
    pub(super) bot_id: Option<String>,
    /// Whether it was made from a forwarded request.
    pub(super) forwarded: bool,
    pub(super) digest: [u8; 32],
    /// Given back once the event is answered, and its acknowledgement written.
    pub(super) place: OwnedSemaphorePermit,
}

/// Why a frame is no event. It is counted and skipped.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArrivalError {
    /// The frame is broken.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The forwarded request is none that we understand.
    #[error(transparent)]
    Interaction(#[from] InteractionError),
}

impl Arrival {
    /// The event of an `inbound` frame.
    pub(super) fn of_inbound(frame: Inbound, line: &[u8], place: OwnedSemaphorePermit) -> Result<Self, ArrivalError> {
        let raw = serde_json::from_str(frame.raw.get()).map_err(|_| FrameError::NotAnObject)?;
        Ok(Self {
            event: Arc::new(frame.event),
            raw_event: Arc::new(raw),
            buffer_id: frame.buffer_id,
            bot_id: None,
            forwarded: false,
            digest: Sha256::digest(line).into(),
            place,
        })
    }

    /// The event that a forwarded request stands for.
    pub(super) fn of_forward(
        frame: PassthroughForward,
        line: &[u8],
        place: OwnedSemaphorePermit,
    ) -> Result<Self, ArrivalError> {
        let mut event = interaction::event(&frame.forward.body)?;
        event.source.profile = frame.forward.profile;
        let mut raw = serde_json::to_value(&event).map_err(|_| FrameError::NotAnObject)?;
        // The connector keeps the right to answer; the turn names it and never holds it.
        raw["follow_up"] = interaction::FOLLOW_UP_KIND.into();
        Ok(Self {
            event: Arc::new(event),
            raw_event: Arc::new(raw),
            buffer_id: frame.buffer_id.filter(|id| !id.is_empty()),
            bot_id: Some(frame.forward.bot_id).filter(|id| !id.is_empty()),
            forwarded: true,
            digest: Sha256::digest(line).into(),
            place,
        })
    }
}

/// Places that a line of so many bytes takes.
pub(super) fn places(bytes: usize) -> u32 {
    u32::try_from(1 + bytes / BYTES_A_PLACE).unwrap_or(PLACES).min(PLACES)
}
