//! The actions in a chat that the gateway requests from the connector.

use serde::Serialize;
use serde_json::{Map, Number, Value};

use super::descriptor::Descriptor;
use super::fields::{FieldError, Fields};

pub use super::action_result::ActionResult;

/// The ops of the contract.
pub const OPS: [&str; 10] = [
    "send",
    "edit",
    "typing",
    "follow_up",
    "get_chat_info",
    "send_media",
    "prompt",
    "react",
    "thread_create",
    "thread_rename",
];

/// Ops that every connector accepts, including one that lists none.
const LEGACY_OPS: [&str; 5] = ["send", "edit", "typing", "follow_up", "get_chat_info"];

/// One action. Fields that are not in the contract are dropped, as a connector does.
///
/// `metadata` identifies the tenant for the connector, so nearly every op has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the contract's and bear its names")]
pub enum Action {
    /// Posts a message.
    Send { chat_id: String, content: String, reply_to: Option<String>, metadata: Map<String, Value> },
    /// Changes a message.
    Edit {
        chat_id: String,
        message_id: String,
        content: String,
        #[serde(skip_serializing_if = "Map::is_empty")]
        metadata: Map<String, Value>,
    },
    /// Shows the typing indicator.
    Typing {
        chat_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<String>,
        #[serde(skip_serializing_if = "Map::is_empty")]
        metadata: Map<String, Value>,
    },
    /// Uses a capability that the connector holds for a session, such as answering an interaction.
    FollowUp { session_key: String, kind: String, content: String, metadata: Map<String, Value> },
    /// Requests the name and type of a chat.
    GetChatInfo { chat_id: String },
    /// Posts a picture, sound or file.
    SendMedia {
        chat_id: String,
        media_kind: String,
        source_url: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        filename: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reply_to: Option<String>,
        #[serde(skip_serializing_if = "Map::is_empty")]
        metadata: Map<String, Value>,
    },
    /// Posts a question with choices.
    Prompt {
        chat_id: String,
        prompt_kind: String,
        prompt_id: String,
        content: String,
        options: Vec<PromptOption>,
        #[serde(skip_serializing_if = "Option::is_none")]
        timeout_s: Option<Number>,
        #[serde(skip_serializing_if = "Map::is_empty")]
        metadata: Map<String, Value>,
    },
    /// Adds a reaction, or removes it.
    React {
        chat_id: String,
        message_id: String,
        emoji: String,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        remove: bool,
        #[serde(skip_serializing_if = "Map::is_empty")]
        metadata: Map<String, Value>,
    },
    /// Opens a thread.
    ThreadCreate {
        chat_id: String,
        thread_name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        message_id: Option<String>,
        #[serde(skip_serializing_if = "Map::is_empty")]
        metadata: Map<String, Value>,
    },
    /// Renames a thread.
    ThreadRename {
        chat_id: String,
        message_id: String,
        thread_name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        only_if_current_name: Option<String>,
        #[serde(skip_serializing_if = "Map::is_empty")]
        metadata: Map<String, Value>,
    },
    /// An op of a later contract, `op` included; passed on only if the descriptor lists it.
    #[serde(untagged)]
    Other(Map<String, Value>),
}

/// One choice of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct PromptOption {
    /// The value of the answer.
    pub id: String,
    /// The label of the button.
    pub label: String,
    /// The style of the button.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style: Option<String>,
}

/// Why an action was refused. No part of it was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("action: {0}")]
pub struct ActionError(pub FieldError);

impl Action {
    /// Reads an action, as an agent or a gateway writes it.
    ///
    /// # Errors
    /// [`ActionError`] names the first field that is required and missing, or of the wrong type.
    pub fn parse(value: &Value) -> Result<Self, ActionError> {
        Fields::of(value, "action").and_then(Self::read).map_err(ActionError)
    }

    fn read(fields: Fields<'_>) -> Result<Self, FieldError> {
        let op = fields.required("op")?;
        let required = |name| fields.required(name);
        let text = |name| fields.text(name);
        let metadata = || fields.map("metadata");
        // The chat is the first field of every op but one, so its absence is reported first.
        let chat_id = || fields.required("chat_id");
        Ok(match op.as_str() {
            "send" => Self::Send {
                chat_id: chat_id()?,
                content: required("content")?,
                reply_to: text("reply_to")?,
                metadata: metadata()?,
            },
            "edit" => Self::Edit {
                chat_id: chat_id()?,
                message_id: required("message_id")?,
                content: required("content")?,
                metadata: metadata()?,
            },
            "typing" => Self::Typing { chat_id: chat_id()?, content: text("content")?, metadata: metadata()? },
            "follow_up" => Self::FollowUp {
                session_key: required("session_key")?,
                kind: required("kind")?,
                content: required("content")?,
                metadata: metadata()?,
            },
            "get_chat_info" => Self::GetChatInfo { chat_id: chat_id()? },
            "send_media" => Self::SendMedia {
                chat_id: chat_id()?,
                media_kind: required("media_kind")?,
                source_url: required("source_url")?,
                content: text("content")?,
                filename: text("filename")?,
                reply_to: text("reply_to")?,
                metadata: metadata()?,
            },
            "prompt" => Self::Prompt {
                chat_id: chat_id()?,
                prompt_kind: required("prompt_kind")?,
                prompt_id: required("prompt_id")?,
                content: required("content")?,
                options: fields.list("options")?.iter().map(PromptOption::read).collect::<Result<_, _>>()?,
                timeout_s: fields.number("timeout_s")?,
                metadata: metadata()?,
            },
            "react" => Self::React {
                chat_id: chat_id()?,
                message_id: required("message_id")?,
                emoji: required("emoji")?,
                remove: fields.flag("remove")?.unwrap_or_default(),
                metadata: metadata()?,
            },
            "thread_create" => Self::ThreadCreate {
                chat_id: chat_id()?,
                thread_name: required("thread_name")?,
                message_id: text("message_id")?,
                metadata: metadata()?,
            },
            "thread_rename" => Self::ThreadRename {
                chat_id: chat_id()?,
                message_id: required("message_id")?,
                thread_name: required("thread_name")?,
                only_if_current_name: text("only_if_current_name")?,
                metadata: metadata()?,
            },
            _ => Self::Other(fields.to_map()),
        })
    }

    /// The op's name.
    #[must_use]
    pub fn op(&self) -> &str {
        match self {
            Self::Send { .. } => "send",
            Self::Edit { .. } => "edit",
            Self::Typing { .. } => "typing",
            Self::FollowUp { .. } => "follow_up",
            Self::GetChatInfo { .. } => "get_chat_info",
            Self::SendMedia { .. } => "send_media",
            Self::Prompt { .. } => "prompt",
            Self::React { .. } => "react",
            Self::ThreadCreate { .. } => "thread_create",
            Self::ThreadRename { .. } => "thread_rename",
            Self::Other(fields) => fields.get("op").and_then(Value::as_str).unwrap_or_default(),
        }
    }

    /// Its chat; a follow-up names a session instead.
    #[must_use]
    pub fn chat_id(&self) -> Option<&str> {
        match self {
            Self::Send { chat_id, .. }
            | Self::Edit { chat_id, .. }
            | Self::Typing { chat_id, .. }
            | Self::GetChatInfo { chat_id }
            | Self::SendMedia { chat_id, .. }
            | Self::Prompt { chat_id, .. }
            | Self::React { chat_id, .. }
            | Self::ThreadCreate { chat_id, .. }
            | Self::ThreadRename { chat_id, .. } => Some(chat_id),
            Self::Other(fields) => fields.get("chat_id").and_then(Value::as_str),
            Self::FollowUp { .. } => None,
        }
    }

    /// Whether it contains content for people, so that it is recorded in the ledger.
    #[must_use]
    pub fn carries_content(&self) -> bool {
        match self {
            Self::Send { .. }
            | Self::Edit { .. }
            | Self::FollowUp { .. }
            | Self::SendMedia { .. }
            | Self::Prompt { .. } => true,
            Self::Other(fields) => fields.get("content").is_some_and(|content| !content.is_null()),
            Self::Typing { .. }
            | Self::GetChatInfo { .. }
            | Self::React { .. }
            | Self::ThreadCreate { .. }
            | Self::ThreadRename { .. } => false,
        }
    }

    /// The text for people, for the ops that are recorded in the ledger.
    #[must_use]
    pub fn content(&self) -> Option<&str> {
        match self {
            Self::Send { content, .. }
            | Self::Edit { content, .. }
            | Self::FollowUp { content, .. }
            | Self::Prompt { content, .. } => Some(content),
            Self::SendMedia { content, .. } => content.as_deref(),
            Self::Other(fields) => fields.get("content").and_then(Value::as_str),
            Self::Typing { .. }
            | Self::GetChatInfo { .. }
            | Self::React { .. }
            | Self::ThreadCreate { .. }
            | Self::ThreadRename { .. } => None,
        }
    }

    /// Replaces [`Action::content`]; a picture without one gets one.
    pub fn set_content(&mut self, text: String) {
        match self {
            Self::Send { content, .. }
            | Self::Edit { content, .. }
            | Self::FollowUp { content, .. }
            | Self::Prompt { content, .. } => *content = text,
            Self::SendMedia { content, .. } => *content = Some(text),
            Self::Other(fields) => {
                fields.insert("content".to_owned(), text.into());
            }
            Self::Typing { .. }
            | Self::GetChatInfo { .. }
            | Self::React { .. }
            | Self::ThreadCreate { .. }
            | Self::ThreadRename { .. } => {}
        }
    }

    /// The metadata for the connector. `None` for ops without.
    #[must_use]
    pub fn metadata(&self) -> Option<&Map<String, Value>> {
        match self {
            Self::Send { metadata, .. }
            | Self::Edit { metadata, .. }
            | Self::Typing { metadata, .. }
            | Self::FollowUp { metadata, .. }
            | Self::SendMedia { metadata, .. }
            | Self::Prompt { metadata, .. }
            | Self::React { metadata, .. }
            | Self::ThreadCreate { metadata, .. }
            | Self::ThreadRename { metadata, .. } => Some(metadata),
            Self::Other(fields) => fields.get("metadata").and_then(Value::as_object),
            Self::GetChatInfo { .. } => None,
        }
    }

    /// The metadata that identifies the tenant, to be filled in before sending. `None` for ops without.
    pub fn metadata_mut(&mut self) -> Option<&mut Map<String, Value>> {
        match self {
            Self::Send { metadata, .. }
            | Self::Edit { metadata, .. }
            | Self::Typing { metadata, .. }
            | Self::FollowUp { metadata, .. }
            | Self::SendMedia { metadata, .. }
            | Self::Prompt { metadata, .. }
            | Self::React { metadata, .. }
            | Self::ThreadCreate { metadata, .. }
            | Self::ThreadRename { metadata, .. } => Some(metadata),
            Self::Other(fields) => fields.entry("metadata").or_insert_with(|| Map::new().into()).as_object_mut(),
            Self::GetChatInfo { .. } => None,
        }
    }
}

impl PromptOption {
    fn read(value: &Value) -> Result<Self, FieldError> {
        let fields = Fields::of(value, "options")?;
        Ok(Self { id: fields.required("id")?, label: fields.required("label")?, style: fields.text("style")? })
    }
}

/// Whether `op` may be sent to a connector with this descriptor.
///
/// Its list of ops decides if it has one, except for `send`, without which there is no conversation.
#[must_use]
pub fn allowed(op: &str, descriptor: &Descriptor) -> bool {
    let listed = match &descriptor.supported_ops {
        Some(ops) => op == "send" || ops.iter().any(|listed| listed == op),
        None => LEGACY_OPS.contains(&op),
    };
    listed && (op != "edit" || descriptor.supports_edit)
}

#[cfg(test)]
mod tests;
