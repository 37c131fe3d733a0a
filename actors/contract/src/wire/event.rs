//! An inbound event: one message in one chat, as the connector normalises it.

use serde::Serialize;
use serde_json::Value;

use super::borrowed::JsonValue;
use super::fields::{FieldError, Fields};
use crate::json::identifier;

/// The name in place of an unknown platform.
pub const RELAY: &str = "relay";

/// The start of the reference text made of the messages around an event; the original's wording, which agents expect.
const CONTEXT_TITLE: &str = "[Recent channel messages]";

/// The platforms of the original 0.19.0, its bundled plugins included.
const PLATFORMS: [&str; 32] = [
    "api_server",
    "bluebubbles",
    "dingtalk",
    "discord",
    "email",
    "feishu",
    "google_chat",
    "homeassistant",
    "irc",
    "line",
    "local",
    "matrix",
    "mattermost",
    "msgraph_webhook",
    "ntfy",
    "photon",
    "qqbot",
    "raft",
    "relay",
    "signal",
    "simplex",
    "slack",
    "sms",
    "teams",
    "telegram",
    "webhook",
    "wecom",
    "wecom_callback",
    "weixin",
    "whatsapp",
    "whatsapp_cloud",
    "yuanbao",
];

/// Longest identifier, in bytes. Sessions, chats and rows are identified by them; those of real platforms are below 1 KiB.
const MAX_ID: usize = 2 * 1024;

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageType {
    /// Plain text; also for an unknown kind.
    #[default]
    Text,
    /// A location.
    Location,
    /// A picture.
    Photo,
    /// A video.
    Video,
    /// Audio.
    Audio,
    /// A voice message.
    Voice,
    /// A file.
    Document,
    /// A sticker.
    Sticker,
    /// A command such as `/stop`.
    Command,
}

impl MessageType {
    fn from_name(name: &str) -> Self {
        match name {
            "location" => Self::Location,
            "photo" => Self::Photo,
            "video" => Self::Video,
            "audio" => Self::Audio,
            "voice" => Self::Voice,
            "document" => Self::Document,
            "sticker" => Self::Sticker,
            "command" => Self::Command,
            _ => Self::Text,
        }
    }
}

/// Fields that are in every event sent, as null if absent; the others are left out if empty.
const ALWAYS_SENT: [&str; 16] = [
    "text",
    "message_type",
    "message_id",
    "reply_to_message_id",
    "media_urls",
    "source",
    "platform",
    "chat_id",
    "chat_type",
    "chat_name",
    "user_id",
    "user_name",
    "user_display_name",
    "thread_id",
    "scope_id",
    "profile",
];

/// The origin of an event, and so the destination of its replies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Source {
    /// A known platform, else `relay`.
    pub platform: String,
    /// The chat; may be empty.
    pub chat_id: String,
    /// `dm`, `group`, `channel`, `thread` or another type of the platform.
    pub chat_type: String,
    /// The chat's name.
    pub chat_name: Option<String>,
    /// The author.
    pub user_id: Option<String>,
    /// The author's name.
    pub user_name: Option<String>,
    /// The author's name as shown in this chat.
    pub user_display_name: Option<String>,
    /// The author's other identifier, which changes less often.
    pub user_id_alt: Option<String>,
    /// The thread in the chat.
    pub thread_id: Option<String>,
    /// The topic of the chat.
    pub chat_topic: Option<String>,
    /// The chat's other identifier.
    pub chat_id_alt: Option<String>,
    /// The guild, workspace or server.
    pub scope_id: Option<String>,
    /// The parent chat, if this one is a thread.
    pub parent_chat_id: Option<String>,
    /// The message, repeated.
    pub message_id: Option<String>,
    /// The profile that the connector routed it to, unchecked.
    pub profile: Option<String>,
}

/// The message that an event replies to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ReplyTo {
    /// Its text.
    pub text: Option<String>,
    /// Its author.
    pub author: Option<String>,
    /// Whether the agent wrote it.
    pub is_own: bool,
}

/// One message for the agent.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct InboundEvent {
    /// The text.
    pub text: String,
    /// The kind of the message.
    pub message_type: MessageType,
    /// The message; without one nothing counts as a duplicate.
    pub message_id: Option<String>,
    /// The message it replies to.
    pub reply_to_message_id: Option<String>,
    /// The message it replies to, with its text.
    pub reply_to: Option<ReplyTo>,
    /// Addresses of the attachments.
    pub media_urls: Vec<String>,
    /// The types of the attachments, in the same order.
    pub media: Vec<Value>,
    /// Reference text made of the messages around this one. For context only; it never starts a turn.
    pub channel_context: Option<String>,
    /// The choice made in a prompt.
    pub prompt_response: Option<Value>,
    /// Its origin.
    pub source: Source,
    /// The kind of the token that the connector holds for the answer, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follow_up: Option<String>,
}

/// The choice made in a prompt, as a connector sends it. A gateway passes it to the agent unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PromptResponse {
    /// The prompt.
    pub prompt_id: String,
    /// The choice.
    pub option_id: String,
    /// The label of its button.
    pub label: String,
}

/// Why an event was refused. It must not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event: {0}")]
pub struct EventError(pub FieldError);

impl InboundEvent {
    /// Reads an event from the wire; absent fields are empty.
    ///
    /// # Errors
    /// [`EventError`] names the first field of the wrong type.
    pub fn parse(value: &Value) -> Result<Self, EventError> {
        Self::read(value).map_err(EventError)
    }

    /// The event as a connector sends it, which [`InboundEvent::parse`] reads back.
    ///
    /// Without the reference text: a connector sends the messages around an event, not the text made of them.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "texts, flags and JSON values always have a JSON form")]
    pub fn to_wire(&self) -> Value {
        let mut event = serde_json::to_value(self).expect("an event holds nothing without a JSON form");
        if let Some(fields) = event.as_object_mut() {
            fields.shift_remove("channel_context");
            // It is the last field on the wire.
            let response = fields.shift_remove("prompt_response");
            fields.extend(response.map(|response| ("prompt_response".to_owned(), response)));
            fields.retain(|name, value| is_sent(name, value));
            if let Some(source) = fields.get_mut("source").and_then(Value::as_object_mut) {
                source.retain(|name, value| is_sent(name, value));
            }
        }
        event
    }

    pub(super) fn read<V: JsonValue>(value: &V) -> Result<Self, FieldError> {
        let fields = Fields::of(value, "event")?;
        let source = fields.object("source")?;
        Ok(Self {
            text: fields.text("text")?.unwrap_or_default(),
            message_type: lenient_text(fields, "message_type").map(MessageType::from_name).unwrap_or_default(),
            message_id: id(fields, "message_id")?,
            reply_to_message_id: id(fields, "reply_to_message_id")?,
            reply_to: fields.object("reply_to")?.map(ReplyTo::read).transpose()?,
            media_urls: fields.texts("media_urls")?,
            media: fields.list("media")?.iter().map(V::to_value).collect(),
            channel_context: fields.get("context").map(V::to_value).as_ref().and_then(reference_text),
            prompt_response: fields.get("prompt_response").map(V::to_value),
            source: source.map_or_else(|| Ok(Source::empty()), Source::read)?,
            follow_up: lenient_text(fields, "follow_up").map(str::to_owned),
        })
    }
}

fn is_sent(name: &str, value: &Value) -> bool {
    ALWAYS_SENT.contains(&name) || !(value.is_null() || value.as_array().is_some_and(Vec::is_empty))
}

impl ReplyTo {
    fn read<V: JsonValue>(fields: Fields<'_, V>) -> Result<Self, FieldError> {
        let is_own = fields.flag("is_own")?.unwrap_or_default();
        Ok(Self { text: fields.text("text")?, author: fields.text("author")?, is_own })
    }
}

impl Source {
    /// A source without any data.
    fn empty() -> Self {
        Self { platform: RELAY.into(), chat_type: "dm".into(), ..Self::default() }
    }

    fn read<V: JsonValue>(fields: Fields<'_, V>) -> Result<Self, FieldError> {
        Ok(Self {
            platform: known_platform(lenient_text(fields, "platform").unwrap_or(RELAY)),
            chat_id: id(fields, "chat_id")?.unwrap_or_default(),
            chat_type: id(fields, "chat_type")?.unwrap_or_else(|| "dm".to_owned()),
            chat_name: fields.text("chat_name")?,
            user_id: id(fields, "user_id")?,
            user_name: fields.text("user_name")?,
            user_display_name: fields.text("user_display_name")?,
            user_id_alt: id(fields, "user_id_alt")?,
            thread_id: id(fields, "thread_id")?,
            chat_topic: fields.text("chat_topic")?,
            chat_id_alt: id(fields, "chat_id_alt")?,
            scope_id: id(fields, "scope_id")?,
            parent_chat_id: id(fields, "parent_chat_id")?,
            message_id: id(fields, "message_id")?,
            profile: id(fields, "profile")?,
        })
    }
}

/// An identifier.
fn id<V: JsonValue>(fields: Fields<'_, V>, name: &'static str) -> Result<Option<String>, FieldError> {
    let id = fields.text(name)?;
    if id.as_ref().is_some_and(|id| id.len() > MAX_ID) { Err(FieldError::TooLong(name)) } else { Ok(id) }
}

/// A string whose value is not checked; a value of another type counts as absent.
fn lenient_text<'a, V: JsonValue>(fields: Fields<'a, V>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(V::as_text)
}

fn known_platform(name: &str) -> String {
    let name = name.trim().to_lowercase();
    if PLATFORMS.contains(&name.as_str()) { name } else { RELAY.into() }
}

/// The messages around an event as text, one per line. A block of another shape does not make the event invalid.
fn reference_text(context: &Value) -> Option<String> {
    let lines: Vec<String> = context.as_array()?.iter().filter_map(reference_line).collect();
    (!lines.is_empty()).then(|| format!("{CONTEXT_TITLE}\n{}", lines.join("\n")))
}

fn reference_line(item: &Value) -> Option<String> {
    let text_of = |value: &'_ Value, name: &str| identifier(value.get(name));
    let text = text_of(item, "text")?;
    let author =
        item.get("source").and_then(|source| text_of(source, "user_name").or_else(|| text_of(source, "user_id")));
    Some(author.map_or_else(|| text.clone(), |author| format!("{author}: {text}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_of_the_wrong_type_refuses_the_event() {
        for (event, name) in [
            (json!({"text": 7}), "text"),
            (json!({"source": "x"}), "source"),
            (json!({"source": {"chat_id": []}}), "chat_id"),
            (json!({"media_urls": "x"}), "media_urls"),
            (json!({"reply_to": {"is_own": "no"}}), "is_own"),
            (json!("x"), "event"),
        ] {
            assert_eq!(InboundEvent::parse(&event), Err(EventError(FieldError::WrongType(name))));
        }
    }

    #[test]
    fn an_identifier_that_is_too_long_refuses_the_event() {
        let long = "x".repeat(MAX_ID + 1);
        let source = ["chat_id", "chat_type", "user_id", "user_id_alt", "thread_id", "chat_id_alt", "scope_id"];
        for name in source.into_iter().chain(["parent_chat_id", "message_id", "profile"]) {
            let error = InboundEvent::parse(&json!({"source": {name: long}})).unwrap_err();
            assert_eq!(error, EventError(FieldError::TooLong(name)));
            assert!(InboundEvent::parse(&json!({"source": {name: long[1..]}})).is_ok());
        }
        for name in ["message_id", "reply_to_message_id"] {
            assert_eq!(InboundEvent::parse(&json!({name: long})), Err(EventError(FieldError::TooLong(name))));
        }
    }

    #[test]
    fn an_event_reads_back_as_it_was_sent() {
        let text = |text: &str| Some(text.to_owned());
        let bare = InboundEvent { source: Source::empty(), ..InboundEvent::default() };
        assert_eq!(
            bare.to_wire().to_string(),
            concat!(
                r#"{"text":"","message_type":"text","message_id":null,"reply_to_message_id":null,"media_urls":[],"#,
                r#""source":{"platform":"relay","chat_id":"","chat_type":"dm","chat_name":null,"user_id":null,"#,
                r#""user_name":null,"user_display_name":null,"thread_id":null,"scope_id":null,"message_id":null,"#,
                r#""profile":null}}"#
            )
        );
        let full = InboundEvent {
            message_type: MessageType::Photo,
            message_id: text("m"),
            reply_to: Some(ReplyTo { text: text("before"), author: None, is_own: true }),
            media_urls: vec!["u".into()],
            media: vec![json!({"kind": "photo"})],
            prompt_response: Some(json!({"prompt_id": "p"})),
            follow_up: text("kind"),
            source: Source { user_id_alt: text("alt"), chat_topic: text("topic"), ..Source::empty() },
            ..bare.clone()
        };
        for event in [bare, full] {
            assert_eq!(InboundEvent::parse(&event.to_wire()).unwrap(), event);
        }
        let event = InboundEvent { channel_context: text("Ann: hi"), ..InboundEvent::default() };
        assert!(event.to_wire().get("channel_context").is_none());
    }

    #[test]
    fn an_empty_event_is_a_direct_message_without_a_source() {
        let event = InboundEvent::parse(&json!({})).unwrap();
        assert_eq!((event.source.platform.as_str(), event.source.chat_type.as_str()), ("relay", "dm"));
        assert_eq!(event, InboundEvent::parse(&json!({"source": {}, "context": 7})).unwrap());
    }

    #[test]
    fn the_case_of_a_platform_does_not_matter() {
        for (name, known) in [(" Discord ", "discord"), ("", "relay"), ("nosuch", "relay"), ("irc", "irc")] {
            assert_eq!(known_platform(name), known);
        }
    }
}
