//! The actions that the gateway asks the connector for in a chat, and the connector's answers.

use serde::Serialize;
use serde_json::{Map, Number, Value};

use super::descriptor::Descriptor;
use super::fields::{FieldError, Fields};
use crate::json::{identifier, truthy};

/// Ops that every connector accepts, including one that lists none.
const LEGACY_OPS: [&str; 5] = ["send", "edit", "typing", "follow_up", "get_chat_info"];

/// One action. Fields the contract does not know are dropped, as a connector would.
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
    /// Shows that work is in progress.
    Typing {
        chat_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<String>,
        #[serde(skip_serializing_if = "Map::is_empty")]
        metadata: Map<String, Value>,
    },
    /// Uses a capability that the connector holds for a session, such as answering an interaction.
    FollowUp { session_key: String, kind: String, content: String, metadata: Map<String, Value> },
    /// Asks for the name of a chat.
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    /// [`ActionError`] names the first field that is required and missing, or of the wrong kind.
    pub fn parse(value: &Value) -> Result<Self, ActionError> {
        Fields::of(value, "action").and_then(Self::read).map_err(ActionError)
    }

    fn read(fields: Fields<'_>) -> Result<Self, FieldError> {
        let op = fields.required("op")?;
        let required = |name| fields.required(name);
        let text = |name| fields.text(name);
        let metadata = || fields.map("metadata");
        // The chat comes first in every op but one, so its absence is reported first.
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
            _ => Self::Other(fields.whole()),
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

    /// The chat it is for; a follow-up names a session instead.
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

    /// Whether it contains content for people, so that it is an obligation.
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

    /// The text for people, for the ops that are obligations.
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

/// Longest identifier from a connector, in bytes; a longer one is discarded.
const MAX_ID: usize = 1024;
/// Longest error from a connector, in characters; the rest is cut off.
const MAX_ERROR: usize = 1024;
/// Largest description of a chat, in bytes; a larger one is left out.
const MAX_CHAT_INFO: usize = 16 * 1024;

/// The connector's answer to one action, or the replacement of an answer that never came.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ActionResult {
    /// Whether the action was done.
    pub success: bool,
    /// The id of the message that was created or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The id of the thread that was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// Why the action was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether the action may have been done nevertheless: it was sent, and no answer came.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ambiguous: bool,
    /// The name and kind of a chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_info: Option<Value>,
    /// Whether it certainly never left this process, and so can be sent again without a mark.
    #[serde(skip)]
    pub never_left: bool,
}

/// `error`, possibly cut off, which the text then shows.
fn cut(error: String) -> String {
    match error.char_indices().nth(MAX_ERROR) {
        Some((end, _)) => format!("{} … (cut off; {} bytes in all)", &error[..end], error.len()),
        None => error,
    }
}

impl ActionResult {
    /// A failure in which certainly nothing was done.
    #[must_use]
    pub fn failed(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }

    /// A failure before anything left this process.
    #[must_use]
    pub fn never_left(error: impl Into<String>) -> Self {
        Self { never_left: true, ..Self::failed(error) }
    }

    /// A failure after which it is unknown what was done.
    #[must_use]
    pub fn ambiguous(error: impl Into<String>) -> Self {
        Self { ambiguous: true, ..Self::failed(error) }
    }

    /// Reads a result. Lenient with its fields: a refused answer would make a completed action ambiguous.
    ///
    /// # Errors
    /// [`ActionError`] if it is not an object.
    pub fn parse(value: &Value) -> Result<Self, ActionError> {
        let fields = Fields::of(value, "result").map_err(ActionError)?;
        // Many results are pending at a time, and an error is logged and shown.
        let id = |name: &str| identifier(fields.get(name)).filter(|id| id.len() <= MAX_ID);
        let success = fields.get("success").is_some_and(truthy);
        Ok(Self {
            success,
            message_id: id("message_id"),
            thread_id: id("thread_id"),
            error: identifier(fields.get("error")).map(cut),
            ambiguous: !success && fields.get("ambiguous").is_some_and(truthy),
            chat_info: fields.get("chat_info").filter(|info| info.to_string().len() <= MAX_CHAT_INFO).cloned(),
            never_left: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_is_short_whatever_the_connector_says() {
        let long = "ä".repeat(1_000_000);
        let wire =
            json!({"success": true, "message_id": long, "thread_id": "t", "error": long, "chat_info": {"name": long}});
        let result = ActionResult::parse(&wire).unwrap();
        assert_eq!((result.success, &result.message_id, result.thread_id.as_deref()), (true, &None, Some("t")));
        let error = result.error.unwrap();
        assert!(error.len() < 2_200 && error.ends_with("(cut off; 2000000 bytes in all)"), "{}", error.len());
        assert_eq!(result.chat_info, None);
    }

    #[test]
    fn an_action_reads_back_as_it_was_written() {
        for wire in [
            json!({"op": "send", "chat_id": "c", "content": "x", "reply_to": null, "metadata": {"scope_id": "g"}}),
            json!({"op": "edit", "chat_id": "c", "message_id": "m", "content": "x"}),
            json!({"op": "typing", "chat_id": "c"}),
            json!({"op": "follow_up", "session_key": "s", "kind": "k", "content": "x", "metadata": {}}),
            json!({"op": "get_chat_info", "chat_id": "c"}),
            json!({"op": "send_media", "chat_id": "c", "media_kind": "photo", "source_url": "u", "filename": "f"}),
            json!({"op": "prompt", "chat_id": "c", "prompt_kind": "choice", "prompt_id": "p", "content": "x",
                "options": [{"id": "1", "label": "one", "style": "danger"}], "timeout_s": 60}),
            json!({"op": "react", "chat_id": "c", "message_id": "m", "emoji": "👍", "remove": true}),
            json!({"op": "thread_create", "chat_id": "c", "thread_name": "t", "message_id": "m"}),
            json!({"op": "thread_rename", "chat_id": "c", "message_id": "m", "thread_name": "t"}),
            json!({"op": "pin", "chat_id": "c", "until": 5}),
        ] {
            let action = Action::parse(&wire).unwrap();
            assert_eq!(serde_json::to_value(&action).unwrap(), wire);
            assert_eq!(action.op(), wire["op"]);
            assert_eq!(action.chat_id(), wire["chat_id"].as_str());
        }
    }

    #[test]
    fn a_bad_action_is_refused_by_the_name_of_its_field() {
        for (wire, error) in [
            (json!([]), FieldError::WrongKind("action")),
            (json!({"chat_id": "c"}), FieldError::Missing("op")),
            (json!({"op": "send", "content": "x"}), FieldError::Missing("chat_id")),
            (json!({"op": "send", "chat_id": 7, "content": "x"}), FieldError::WrongKind("chat_id")),
        ] {
            assert_eq!(Action::parse(&wire), Err(ActionError(error)));
        }
    }

    #[test]
    fn a_new_op_needs_the_descriptor_to_name_it() {
        let silent = Descriptor::default();
        assert!(allowed("typing", &silent) && !allowed("react", &silent));
        let listing = Descriptor { supported_ops: Some(vec!["react".into()]), ..Descriptor::default() };
        assert!(allowed("send", &listing) && allowed("react", &listing) && !allowed("typing", &listing));
        assert!(!allowed("edit", &Descriptor { supports_edit: false, ..Descriptor::default() }));
    }

    #[test]
    fn a_result_is_read_leniently_and_its_certainty_kept() {
        let result = ActionResult::parse(&json!({"success": true, "message_id": 7, "ambiguous": true})).unwrap();
        assert_eq!((result.success, result.message_id.as_deref(), result.ambiguous), (true, Some("7"), false));
        let wire = serde_json::to_value(ActionResult::ambiguous("lost")).unwrap();
        assert_eq!(wire, json!({"success": false, "error": "lost", "ambiguous": true}));
        assert!(!ActionResult::failed("refused").ambiguous);
        assert!(ActionResult::parse(&json!(true)).is_err());
    }

    #[test]
    fn the_tenant_can_be_named_in_an_op_of_a_later_contract() {
        let mut action = Action::parse(&json!({"op": "pin", "chat_id": "c"})).unwrap();
        action.metadata_mut().unwrap().insert("scope_id".into(), json!("g"));
        assert_eq!(serde_json::to_value(&action).unwrap()["metadata"]["scope_id"], "g");
    }
}
