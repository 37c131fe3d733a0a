//! The connector's answer to one action.

use serde::Serialize;
use serde_json::Value;

use super::fields::{FieldError, Fields};
use crate::json::{identifier, truthy};

/// Longest identifier of a connector, in bytes; a longer one is dropped.
const MAX_ID: usize = 1024;
/// Longest error of a connector, in characters; the rest is cut off.
const MAX_ERROR: usize = 1024;
/// Largest description of a chat, in bytes; a larger one is left out.
const MAX_CHAT_INFO: usize = 16 * 1024;

/// The connector's answer to one action, or the substitute for an answer that was not received.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize)]
pub struct ActionResult {
    /// Whether the action was carried out.
    pub success: bool,
    /// The message created or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The thread opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// Why it was not carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether it may have been carried out nevertheless: it was sent and no answer was received.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ambiguous: bool,
    /// The name and the type of a chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_info: Option<Value>,
    /// Set if it certainly did not leave this process, and so may be sent again without a mark.
    #[serde(skip)]
    pub not_sent: Option<NotSent>,
}

/// Why an action did not leave this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotSent {
    /// Its link is not up, or went down before.
    NoLink,
    /// The queue of its link is full: worth another attempt in a moment.
    QueueFull,
}

/// Why a result was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("action result: {0}")]
pub struct ActionResultError(pub FieldError);

/// A connector's description of a chat. A gateway passes it to the agent unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatInfo {
    /// Its name for people.
    pub name: String,
    /// `dm`, `group`, `channel`, `thread` or another type of the platform.
    #[serde(rename = "type")]
    pub chat_type: String,
}

/// `error`, cut to the limit; a cut one ends with its full length.
fn cut(error: String) -> String {
    match error.char_indices().nth(MAX_ERROR) {
        Some((end, _)) => format!("{} … (cut off; {} bytes in all)", &error[..end], error.len()),
        None => error,
    }
}

impl ActionResult {
    /// A success without further data.
    #[must_use]
    pub fn done() -> Self {
        Self { success: true, ..Self::default() }
    }

    /// A failure with certainty that nothing was carried out.
    #[must_use]
    pub fn failed(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }

    /// A failure before the action left this process.
    #[must_use]
    pub fn not_sent(reason: NotSent, error: impl Into<String>) -> Self {
        Self { not_sent: Some(reason), ..Self::failed(error) }
    }

    /// A failure with an unknown outcome.
    #[must_use]
    pub fn ambiguous(error: impl Into<String>) -> Self {
        Self { ambiguous: true, ..Self::failed(error) }
    }

    /// Reads a result. Lenient with its fields: refusing it would make a finished action ambiguous.
    ///
    /// # Errors
    /// [`ActionResultError`] if it is not an object.
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
            not_sent: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_length_of_a_result_is_limited() {
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
