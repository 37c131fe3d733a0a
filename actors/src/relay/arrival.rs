//! A frame to be recorded: an event, from any kind of frame, or a frame that cannot be used.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::dead_letter::DeadLetter;
use caduceus_contract::json::RawJson;
use caduceus_contract::messages::ledger::Receipt;
use caduceus_contract::wire::event::InboundEvent;
use caduceus_contract::wire::frame::{FrameError, Inbound, PassthroughForward};
use caduceus_contract::wire::interaction::{self, InteractionError};
use caduceus_contract::wire::lines::{LineTooLong, SkippedLine};
use caduceus_contract::wire::received_event::ReceivedEvent;

/// Most places that arrivals take at a time, over all connections of a link.
pub(super) const PLACES: u32 = 256;

/// A line takes one more place for each of these bytes, so that waiting frames are bounded in bytes as well.
const BYTES_A_PLACE: usize = 64 * 1024;

/// A frame on its way to the ledger.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) content: ArrivalContent,
    pub(super) buffer_id: Option<String>,
    pub(super) digest: [u8; 32],
    /// Milliseconds since 1970 at which it was read.
    pub(super) read_at_ms: i64,
    /// The id of the gateway, if the connection named one; set by the actor.
    pub(super) gateway: Option<Arc<str>>,
    /// Released once the frame is answered and its acknowledgement written.
    pub(super) place: OwnedSemaphorePermit,
}

/// The contents of a frame.
#[derive(Debug)]
pub(super) enum ArrivalContent {
    /// For the dispatcher.
    Event(ArrivedEvent),
    /// For the ledger alone.
    Dead(DeadLetter),
}

/// An event, and what the frame adds to it.
#[derive(Debug)]
pub(super) struct ArrivedEvent {
    pub(super) event: Arc<InboundEvent>,
    pub(super) raw_event: RawJson,
    /// The identity that the frame names.
    pub(super) bot_id: Option<String>,
    /// Whether it was made from a forwarded request.
    pub(super) forwarded: bool,
}

/// Why a frame is not an event. Contains none of the frame's content.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArrivalError {
    /// The frame is malformed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The forwarded request is of an unknown kind.
    #[error(transparent)]
    Interaction(#[from] InteractionError),
    /// Its type is of a later contract.
    #[error("its type is unknown to this gateway")]
    UnknownType,
}

impl ArrivedEvent {
    /// The event of an `inbound` frame.
    pub(super) fn of_inbound(frame: &Inbound) -> Result<Self, ArrivalError> {
        let ReceivedEvent { event, raw } = frame.read()?;
        Ok(Self { event, raw_event: raw, bot_id: None, forwarded: false })
    }

    /// The event of a forwarded request.
    pub(super) fn of_forward(frame: &PassthroughForward) -> Result<Self, ArrivalError> {
        let forward = frame.read()?;
        let mut event = interaction::event(&forward.body)?;
        event.source.profile = forward.profile;
        // The connector holds the interaction token; the turn names it and never has it.
        event.follow_up = Some(interaction::FOLLOW_UP_KIND.to_owned());
        let raw = serde_json::to_value(&event).map_err(|_| FrameError::NotAnObject)?;
        let bot_id = Some(forward.bot_id).filter(|id| !id.is_empty());
        Ok(Self { event: Arc::new(event), raw_event: RawJson::of(&raw), bot_id, forwarded: true })
    }
}

impl Arrival {
    /// Reads the frame in `line`.
    pub(super) fn of(
        content: ArrivalContent,
        buffer_id: Option<String>,
        (line, read_at_ms): (&[u8], i64),
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self { content, buffer_id, digest: Sha256::digest(line).into(), read_at_ms, gateway: None, place }
    }

    /// How it was received.
    pub(super) fn receipt(&self) -> Receipt {
        Receipt { gateway: self.gateway.clone(), arrived_at_ms: self.read_at_ms }
    }

    /// A line that was too long to be buffered.
    pub(super) fn skipped(line: SkippedLine, read_at_ms: i64, place: OwnedSemaphorePermit) -> Self {
        let letter = DeadLetter::skipped(line.bytes, LineTooLong.to_string());
        let content = ArrivalContent::Dead(letter);
        let (buffer_id, digest) = (Some(line.buffer_id), line.digest);
        Self { content, buffer_id, digest, read_at_ms, gateway: None, place }
    }
}

/// Places that a line of `bytes` takes.
pub(super) fn places(bytes: usize) -> u32 {
    u32::try_from(1 + bytes / BYTES_A_PLACE).unwrap_or(PLACES).min(PLACES)
}
