//! The steps of the plan, for the hub to carry out. Plain data.

use std::time::Duration;

use serde_json::Value;

/// One step.
#[derive(Debug, PartialEq)]
pub(super) enum ConnectorStep {
    /// Write text to a connection, after a delay; the order of writes to one connection is kept.
    Write { connection: u64, text: String, after: Duration },
    /// Close with a close frame.
    Close { connection: u64, code: u16, reason: String },
    /// End without a close frame.
    Cut { connection: u64 },
    /// Leave it open and write nothing more.
    Freeze { connection: u64 },
    /// Call [`ConnectorPlan::release`](super::plan::ConnectorPlan::release) after
    /// [`REORDER_TIMEOUT`](super::plan::REORDER_TIMEOUT).
    ReleaseLater { connection: u64 },
    /// A frame was received from a gateway.
    Frame { gateway_id: String, frame: Value },
    /// An event for the chat windows, see [`ChatEvent`](super::chat_event::ChatEvent).
    Chat(Value),
    /// The value of [`ConnectorPlan::status`](super::plan::ConnectorPlan::status) has changed.
    Status,
    /// Call the wake address of a gateway, so that it dials.
    Wake { url: String },
    /// The content of the data file has changed.
    Save,
}

/// The decision on a dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DialDecision {
    Accept { connection: u64, gateway_id: String },
    Close { code: u16, reason: String },
    Status(u16),
}
