//! What the ledger keeps: the numbers and states of its rows, and the rows as it answers them.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::link::{LinkId, Target};
use crate::profile_name::ProfileName;
use crate::turn_id::TurnId;
use crate::wire::action::ActionResult;
use crate::wire::session::SessionKey;

/// Row of an inbound event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct InboundId(pub i64);

/// Row of an outbound message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct OutboundId(pub i64);

/// Life cycle of an inbound event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InboundState {
    /// On disk, waiting for its turn.
    Received,
    /// Its turn runs.
    Running,
    /// Its turn succeeded.
    Done,
    /// Its turn failed; the chat was notified.
    Failed,
    /// Its turn was interrupted by a shutdown, a crash or a stop.
    Interrupted,
    /// It was refused, or an operator gave it up; the chat was notified.
    Refused,
    /// It waits for a drain to end.
    Held,
    /// Given up after too many attempts or too long a time.
    Dead,
}

/// Life cycle of an outbound message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboundState {
    /// Not yet sent to a link.
    Pending,
    /// Sent to a link; no answer yet.
    Sending,
    /// The connector reported success.
    Delivered,
    /// The connector reported failure, or an operator gave it up or had it sent again as another row.
    Refused,
    /// It may or may not have been delivered.
    Ambiguous,
    /// Given up after too many attempts or too long a time.
    Dead,
}

impl OutboundState {
    /// The state of a reply after the answer of the link.
    #[must_use]
    pub fn after(result: &ActionResult) -> Self {
        match result {
            ActionResult { success: true, .. } => Self::Delivered,
            ActionResult { ambiguous: true, .. } => Self::Ambiguous,
            ActionResult { not_sent: Some(_), .. } => Self::Pending,
            _ => Self::Refused,
        }
    }
}

/// How an event reached the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The id of the gateway at its connector, in lower case; `None` if the connection named none.
    pub gateway: Option<Arc<str>>,
    /// Milliseconds since 1970 at which its frame or request was read.
    pub arrived_at_ms: i64,
}

/// Note of an event that a drain refused, until its chat is notified after the drain that it was not read.
pub const REFUSED_BY_DRAIN: &str = "drain";

/// In place of the text of an event or an action that was erased: its row stays, so that a repeated event is still found.
pub const ERASED: &str = r#"{"erased":true}"#;

/// Field of the text of an event on [`RELAY`](crate::wire::event::RELAY) that is no event: a frame that could not be used.
pub const DEAD_LETTER: &str = "dead_letter";

/// A waiting event, as a dispatcher needs it until its turn.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingRow {
    /// Its row.
    pub id: InboundId,
    /// Its link, over which its replies go.
    pub link: LinkId,
    /// Its session, and so its profile.
    pub session: SessionKey,
    /// The turn that ran it last, or included it beside its own event.
    pub turn: Option<TurnId>,
    /// Milliseconds since 1970 at which it was recorded.
    pub received_at_ms: i64,
}

/// An inbound event as stored in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct InboundRow {
    /// Its row.
    pub id: InboundId,
    /// Its origin, and the destination of replies.
    pub target: Arc<Target>,
    /// Its profile.
    pub profile: ProfileName,
    /// Its session.
    pub session: SessionKey,
    /// The event as received, JSON.
    pub event: String,
    /// Its state.
    pub state: InboundState,
    /// How often it was recorded or marked as `Running`.
    pub attempts: u32,
    /// The turn that ran it last.
    pub turn: Option<TurnId>,
    /// Milliseconds since 1970 at which it was recorded.
    pub received_at_ms: i64,
}

/// An outbound message as stored in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboundRow {
    /// Its row.
    pub id: OutboundId,
    /// The event it answers.
    pub inbound: Option<InboundId>,
    /// The link and the identity.
    pub target: Arc<Target>,
    /// The action, JSON with `op`.
    pub action: String,
    /// Its state.
    pub state: OutboundState,
    /// How often it was sent to a link.
    pub attempts: u32,
    /// Milliseconds since 1970 at which it was recorded.
    pub recorded_at_ms: i64,
}

/// One entry of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// `user` or `assistant`.
    pub role: Cow<'static, str>,
    /// The text.
    pub content: String,
}
