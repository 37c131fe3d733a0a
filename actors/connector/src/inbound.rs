//! Pushes to a gateway, and their outcomes. Plain data.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::saved::BUFFER_LIMIT;

/// One push to a gateway.
#[derive(Debug, Clone)]
pub(super) enum Push {
    /// An `inbound` frame; kept until acknowledged, unless `live`.
    Event { event: Value, buffer_id: Option<String>, live: bool },
    /// A `passthrough_forward` frame, kept likewise; an interaction in it can be followed up under the session key.
    Forward { forward: Value, session_key: Option<String>, buffer_id: Option<String>, live: bool },
    /// An `interrupt_inbound` frame; it is not kept.
    Interrupt { session_key: String, chat_id: String },
    /// Raw text, for lines that a correct connector does not write.
    Raw(String),
}

/// The outcome of a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pushed {
    /// Connections it was written to so far.
    pub(super) delivered: u32,
    /// The id under which it waits for its acknowledgement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) buffer_id: Option<String>,
}

/// Why nothing was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PushError {
    #[error("no such gateway")]
    Unknown,
    #[error("several gateways are registered: name one")]
    Ambiguous,
    #[error("an event, a forward and its parts must be JSON objects")]
    NotAnObject,
    #[error("{BUFFER_LIMIT} frames are waiting for this gateway already")]
    Full,
    #[error("this prompt is unknown or was answered before")]
    Prompt,
}

/// A message typed into the chat page.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChatInput {
    pub(super) gateway_id: Option<String>,
    pub(super) platform: EmulatedPlatform,
    pub(super) user: ChatUser,
    #[serde(default)]
    pub(super) text: String,
    pub(super) profile: Option<String>,
    pub(super) thread_id: Option<String>,
    pub(super) reply_to: Option<String>,
    /// A pressed button instead of a text.
    pub(super) press: Option<PressedButton>,
}

/// The platforms that the page can emulate.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EmulatedPlatform {
    Discord,
    Telegram,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChatUser {
    pub(super) id: String,
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PressedButton {
    pub(super) prompt_id: String,
    pub(super) option_id: String,
}
