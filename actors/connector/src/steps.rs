//! What the plan decides, for the hub to carry out. Plain data.

use std::time::Duration;

use serde_json::Value;

/// Something to carry out.
#[derive(Debug, PartialEq)]
pub(super) enum ConnectorStep {
    /// Write text to a connection, after a pause; what is written to one connection keeps its order.
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
    /// A frame came from a gateway.
    Frame { gateway_id: String, frame: Value },
    /// A change for the chat windows.
    Chat(Value),
    /// What [`ConnectorPlan::status`](super::plan::ConnectorPlan::status) answers has changed.
    Status,
    /// Ask the gateway to dial.
    Wake { url: String },
    /// What belongs into the data file has changed.
    Save,
}

/// What becomes of a dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DialDecision {
    Accept { connection: u64, gateway_id: String },
    Close { code: u16, reason: String },
    Status(u16),
}
