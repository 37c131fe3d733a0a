//! What a connection reports to its actor, and what of it is read.

use super::arrival::{Arrival, ArrivalContent, ArrivedEvent};
use super::steps::Loss;
use caduceus_contract::wire::frame::FromConnector;

/// An event of one connection for its actor.
#[derive(Debug)]
pub(super) enum SocketEvent {
    /// An event, or a frame to be kept as a dead letter.
    Arrived(Box<Arrival>),
    /// A frame without an event.
    Frame(Box<FromConnector>),
    /// The frame before this one has no event and expects an acknowledgement all the same.
    AckRequested(String),
    /// A type of a later contract.
    Unknown,
    /// An invalid line.
    Skipped(String),
    /// An event that is left with the connector, as are all that follow over this connection.
    Left,
    /// The last event.
    Ended(Loss),
}

impl SocketEvent {
    /// The kind of its frame, as counted in the view.
    pub(super) fn frame_kind(&self) -> Option<&'static str> {
        Some(match self {
            Self::Frame(frame) => frame.kind(),
            Self::Arrived(arrival) => match &arrival.content {
                ArrivalContent::Event(ArrivedEvent { forwarded: true, .. }) => "passthrough_forward",
                ArrivalContent::Event(_) => "inbound",
                ArrivalContent::Dead(_) => return None,
            },
            Self::Unknown => "unknown",
            Self::AckRequested(_) | Self::Skipped(_) | Self::Left | Self::Ended(_) => return None,
        })
    }
}

/// What is read of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Everything; a line waits for its place.
    All,
    /// Nothing.
    Paused,
    /// Everything but the events for which there is no place.
    LeavesEvents,
}
