//! What the connector answers to one action.

use serde::Serialize;
use serde_json::Value;

use super::fields::{FieldError, Fields};
use crate::json::{identifier, truthy};

/// Longest identifier that a connector gives, in bytes; a longer one is none.
const MAX_ID: usize = 1024;
/// Longest error of a connector, in characters; the rest is cut off.
const MAX_ERROR: usize = 1024;
/// Largest description of a chat, in bytes; a larger one is left out.
const MAX_CHAT_INFO: usize = 16 * 1024;

/// What the connector answered to one action, or what stands in for an answer that never came.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize)]
pub struct ActionResult {
    /// Whether it was done.
    pub success: bool,
    /// The message made or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The thread opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether it may have been done all the same: it was sent and no answer came.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ambiguous: bool,
    /// What a chat is called and what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_info: Option<Value>,
    /// Whether it is certain that it never left this process, and so may be sent again plainly.
    #[serde(skip)]
    pub never_left: bool,
}

/// Why a result was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("action: {0}")]
pub struct ActionResultError(pub FieldError);

/// What a connector says of a chat. A gateway hands it to the agent as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatInfo {
    /// Its name for people.
    pub name: String,
    /// `dm`, `group`, `channel`, `thread` or what else the platform has.
    #[serde(rename = "type")]
    pub chat_type: String,
}

/// `error`, of which the end may be left out; then it says so.
fn cut(error: String) -> String {
    match error.char_indices().nth(MAX_ERROR) {
        Some((end, _)) => format!("{} … (cut off; {} bytes in all)", &error[..end], error.len()),
        None => error,
    }
}

impl ActionResult {
    /// A success of which there is no more to say.
    #[must_use]
    pub fn done() -> Self {
        Self { success: true, ..Self::default() }
    }

    /// A failure of which it is certain that nothing was done.
    #[must_use]
    pub fn failed(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }

    /// A failure before anything left this process.
    #[must_use]
    pub fn never_left(error: impl Into<String>) -> Self {
        Self { never_left: true, ..Self::failed(error) }
    }

    /// A failure of which nobody knows what was done.
    #[must_use]
    pub fn ambiguous(error: impl Into<String>) -> Self {
        Self { ambiguous: true, ..Self::failed(error) }
    }

    /// Reads a result. Lenient with everything inside: a refused answer would make a done thing ambiguous.
    ///
    /// # Errors
    /// [`ActionResultError`] if it is no object.
    pub fn parse(value: &Value) -> Result<Self, ActionResultError> {
        let fields = Fields::of(value, "result").map_err(ActionResultError)?;
        // Many results wait at a time, and an error is logged and shown.
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
    fn a_result_is_read_leniently_and_its_certainty_kept() {
        let result = ActionResult::parse(&json!({"success": true, "message_id": 7, "ambiguous": true})).unwrap();
        assert_eq!((result.success, result.message_id.as_deref(), result.ambiguous), (true, Some("7"), false));
        let wire = serde_json::to_value(ActionResult::ambiguous("lost")).unwrap();
        assert_eq!(wire, json!({"success": false, "error": "lost", "ambiguous": true}));
        assert!(!ActionResult::failed("refused").ambiguous);
        assert!(ActionResult::parse(&json!(true)).is_err());
    }
}
