//! The events of the chat windows' stream. Plain data.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::room::{ChatMessage, RoomKey};

/// One event, as `/chat/events` sends it.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(super) enum ChatEvent<'a> {
    /// All rooms, for a new window.
    Snapshot { rooms: Vec<RoomSnapshot<'a>> },
    /// A message was posted or has changed.
    Message { place: &'a RoomKey, message: &'a ChatMessage },
    /// The agent is typing.
    Typing { place: &'a RoomKey },
    /// A thread was created or renamed.
    Thread { place: &'a RoomKey, thread_id: &'a str, name: &'a str },
    /// The registered gateways and their links.
    Status { gateways: Vec<GatewayStatus<'a>> },
}

/// One room in a snapshot.
#[derive(Serialize)]
pub(super) struct RoomSnapshot<'a> {
    pub(super) place: &'a RoomKey,
    /// Names by id.
    pub(super) threads: &'a BTreeMap<String, String>,
    /// The last messages, oldest first.
    pub(super) messages: Vec<&'a ChatMessage>,
}

/// One registered gateway.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GatewayStatus<'a> {
    pub(super) gateway_id: &'a str,
    /// Whether its hello was received.
    pub(super) connected: bool,
    pub(super) idle: bool,
    /// Frames that wait for it.
    pub(super) buffered: usize,
    pub(super) identities: Vec<GatewayIdentity<'a>>,
}

/// One identity of a connected gateway.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GatewayIdentity<'a> {
    pub(super) platform: &'a str,
    pub(super) bot_id: &'a str,
}

impl ChatEvent<'_> {
    pub(super) fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("texts, numbers and flags always have a JSON form")
    }
}
