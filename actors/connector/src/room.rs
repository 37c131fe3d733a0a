//! One chat: its messages, prompts and threads. Plain data.

use std::collections::{BTreeMap, VecDeque};

use caduceus_contract::wire::action::PromptOption;
use serde::Serialize;

/// Limit of messages per room; an older one can no longer be edited.
const MESSAGE_LIMIT: usize = 500;

/// Identifies a room.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoomKey {
    pub(super) gateway_id: String,
    pub(super) platform: String,
    pub(super) chat_id: String,
}

/// One chat.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct ChatRoom {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) threads: BTreeMap<String, String>,
    pub(super) messages: VecDeque<ChatMessage>,
}

/// A message in a chat, as the chat windows show it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChatMessage {
    pub(super) id: String,
    /// `user` or `agent`.
    pub(super) from: &'static str,
    pub(super) author: String,
    pub(super) author_id: String,
    pub(super) text: String,
    pub(super) reply_to: Option<String>,
    pub(super) thread_id: Option<String>,
    pub(super) edits: u32,
    /// Counts by emoji.
    pub(super) reactions: BTreeMap<String, u32>,
    pub(super) prompt: Option<ButtonPrompt>,
    pub(super) media: Option<ChatMedia>,
    pub(super) at_ms: i64,
}

/// A picture, sound or file.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
pub(super) struct ChatMedia {
    pub(super) kind: String,
    pub(super) url: String,
    pub(super) filename: Option<String>,
}

/// The buttons below a message.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ButtonPrompt {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) options: Vec<PromptOption>,
    pub(super) chosen: Option<String>,
}

impl ChatRoom {
    pub(super) fn push(&mut self, message: ChatMessage) {
        if self.messages.len() == MESSAGE_LIMIT {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
    }
}

impl ButtonPrompt {
    /// The prompt of an action.
    pub(super) fn new(id: &str, kind: &str, options: &[PromptOption]) -> Result<Self, &'static str> {
        if options.is_empty() || options.len() > 25 {
            return Err("a prompt has 1 to 25 options");
        }
        Ok(Self { id: id.to_owned(), kind: kind.to_owned(), options: options.to_vec(), chosen: None })
    }
}
