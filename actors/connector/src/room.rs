//! One chat: its messages, prompts and threads. Plain data.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use serde_json::{Map, Value};

/// Messages kept for each room; an older one can no longer be edited.
const MESSAGE_LIMIT: usize = 500;

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
    /// Emoji to how many.
    pub(super) reactions: BTreeMap<String, u32>,
    pub(super) prompt: Option<ButtonPrompt>,
    pub(super) media: Option<Value>,
    pub(super) at_ms: i64,
}

/// The buttons below a message.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ButtonPrompt {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) options: Vec<Value>,
    pub(super) chosen: Option<String>,
}

impl ChatRoom {
    pub(super) fn keep(&mut self, message: ChatMessage) {
        if self.messages.len() == MESSAGE_LIMIT {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
    }
}

impl ButtonPrompt {
    /// The prompt that an action asks for.
    pub(super) fn of(action: &Map<String, Value>) -> Result<Self, &'static str> {
        let options = action.get("options").and_then(Value::as_array).ok_or("a prompt needs options")?;
        let complete = |option: &Value| option["id"].is_string() && option["label"].is_string();
        if options.is_empty() || options.len() > 25 || !options.iter().all(complete) {
            return Err("a prompt has 1 to 25 options, each with an id and a label");
        }
        Ok(Self {
            id: text(action, "prompt_id").ok_or("a prompt needs a prompt_id")?.to_owned(),
            kind: text(action, "prompt_kind").unwrap_or_default().to_owned(),
            options: options.clone(),
            chosen: None,
        })
    }
}

/// A field of an action that is a text.
pub(super) fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}
