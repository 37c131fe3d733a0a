//! Bringing something to a gateway: events, forwards, interrupts, and what people type into the chat page.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::buffer::BUFFER_LIMIT;
use super::{ConnectorPlan, ConnectorStep, line};
use crate::connector::rooms::Place;

/// Something to bring to a gateway.
#[derive(Debug, Clone)]
pub(in crate::connector) enum Push {
    /// An `inbound` frame; kept until acknowledged, unless `live`.
    Event { event: Value, buffer_id: Option<String>, live: bool },
    /// A `passthrough_forward` frame, kept alike; an interaction in it can be followed up under the session key.
    Forward { forward: Value, session_key: Option<String>, buffer_id: Option<String>, live: bool },
    /// An `interrupt_inbound` frame; there is nothing to keep of it.
    Interrupt { session_key: String, chat_id: String },
    /// Text as it is, for what no good connector would write.
    Raw(String),
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::connector) struct Pushed {
    /// Connections it was written to by now.
    pub(in crate::connector) delivered: u32,
    /// Under which it waits for its acknowledgement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::connector) buffer_id: Option<String>,
}

/// Why nothing was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::connector) enum PushError {
    #[error("no such gateway")]
    Unknown,
    #[error("several gateways are known: name one")]
    Ambiguous,
    #[error("an event, a forward and its parts must be JSON objects")]
    Shape,
    #[error("{BUFFER_LIMIT} frames are waiting for this gateway already")]
    Full,
    #[error("this prompt is unknown here or was answered before")]
    Prompt,
}

/// A message typed into the chat page.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::connector) struct Said {
    pub(in crate::connector) gateway_id: Option<String>,
    pub(in crate::connector) platform: Platform,
    pub(in crate::connector) user: User,
    #[serde(default)]
    pub(in crate::connector) text: String,
    pub(in crate::connector) profile: Option<String>,
    pub(in crate::connector) thread_id: Option<String>,
    pub(in crate::connector) reply_to: Option<String>,
    /// A pressed button instead of a text.
    pub(in crate::connector) press: Option<Press>,
}

/// The shapes the page can play.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::connector) enum Platform {
    Discord,
    Telegram,
}

#[derive(Debug, Deserialize)]
pub(in crate::connector) struct User {
    pub(in crate::connector) id: String,
    pub(in crate::connector) name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::connector) struct Press {
    pub(in crate::connector) prompt_id: String,
    pub(in crate::connector) option_id: String,
}

impl ConnectorPlan {
    /// Brings something to a gateway, or keeps it until the gateway is there.
    pub(in crate::connector) fn push(
        &mut self,
        gateway_id: Option<&str>,
        push: Push,
        now_ms: i64,
    ) -> Result<(Pushed, Vec<ConnectorStep>), PushError> {
        let gateway_id = self.addressed(gateway_id)?;
        let connection = self.ready(&gateway_id);
        match push {
            Push::Event { event, buffer_id, live } => {
                if !event.is_object() || event.get("source").is_some_and(|source| !source.is_object()) {
                    return Err(PushError::Shape);
                }
                if let Some(event_id) = event.get("message_id").and_then(Value::as_str) {
                    self.account.pushed(&gateway_id, event_id);
                }
                let news = self.rooms.heard(&gateway_id, &event, now_ms).map(ConnectorStep::Chat);
                let frame = json!({"type": "inbound", "event": event});
                let (pushed, mut steps) = self.deliver(&gateway_id, frame, buffer_id, live, now_ms)?;
                steps.extend(news);
                Ok((pushed, steps))
            }
            Push::Forward { forward, session_key, buffer_id, live } => {
                if !forward.is_object() {
                    return Err(PushError::Shape);
                }
                self.bind_interaction(&gateway_id, &forward, session_key);
                let frame = json!({"type": "passthrough_forward", "forward": forward});
                self.deliver(&gateway_id, frame, buffer_id, live, now_ms)
            }
            Push::Interrupt { session_key, chat_id } => {
                let frame = json!({"type": "interrupt_inbound", "session_key": session_key, "chat_id": chat_id});
                let steps: Vec<ConnectorStep> =
                    connection.map(|connection| self.write(connection, line(&frame))).into_iter().collect();
                Ok((Pushed { delivered: u32::from(connection.is_some()), buffer_id: None }, steps))
            }
            Push::Raw(text) => {
                // Even to a gateway that has not said hello.
                let connection = self.current.get(&gateway_id).copied();
                let steps: Vec<ConnectorStep> =
                    connection.map(|connection| self.write(connection, text)).into_iter().collect();
                Ok((Pushed { delivered: u32::from(connection.is_some()), buffer_id: None }, steps))
            }
        }
    }

    /// Brings a message of the chat page to a gateway.
    pub(in crate::connector) fn said(
        &mut self,
        said: Said,
        now_ms: i64,
    ) -> Result<(String, Pushed, Vec<ConnectorStep>), PushError> {
        let gateway_id = self.addressed(said.gateway_id.as_deref())?;
        let (platform, chat_id, chat_type, chat_name, scope_id) = match said.platform {
            Platform::Discord => ("discord", "dev-general", "channel", "general", Some("dev-guild")),
            Platform::Telegram => ("telegram", said.user.id.as_str(), "dm", said.user.name.as_str(), None),
        };
        let mut steps = Vec::new();
        let (content, response) = match &said.press {
            None => (said.text, None),
            Some(Press { prompt_id, option_id }) => {
                let place =
                    Place { gateway_id: gateway_id.clone(), platform: platform.into(), chat_id: chat_id.into() };
                let pressed = self.rooms.press(&place, prompt_id, option_id).ok_or(PushError::Prompt)?;
                steps.push(ConnectorStep::Chat(pressed.1));
                (pressed.0.clone(), Some(json!({"prompt_id": prompt_id, "option_id": option_id, "label": pressed.0})))
            }
        };
        let message_id = self.ids.next(now_ms);
        let mut event = json!({
            "text": content,
            "message_type": "text",
            "message_id": message_id,
            "reply_to_message_id": said.reply_to,
            "media_urls": [],
            "source": {
                "platform": platform,
                "chat_id": chat_id,
                "chat_type": chat_type,
                "chat_name": chat_name,
                "user_id": said.user.id,
                "user_name": said.user.name,
                "user_display_name": said.user.name,
                "thread_id": said.thread_id,
                "scope_id": scope_id,
                "message_id": message_id,
                "profile": said.profile,
            },
        });
        if let Some(response) = response {
            event["prompt_response"] = response;
        }
        let push = Push::Event { event, buffer_id: None, live: false };
        let (pushed, more) = self.push(Some(&gateway_id), push, now_ms)?;
        steps.extend(more);
        Ok((message_id, pushed, steps))
    }

    /// An interaction may be answered under its session key until the connector ends.
    fn bind_interaction(&mut self, gateway_id: &str, forward: &Value, session_key: Option<String>) {
        let body = forward["bodyB64"].as_str().and_then(|text| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.decode(text).ok()
        });
        let Some(interaction) = body.and_then(|body| serde_json::from_slice::<Value>(&body).ok()) else {
            return;
        };
        let Some(chat_id) = interaction["channel_id"].as_str() else {
            return;
        };
        let user = interaction["member"]["user"]["id"].as_str().or_else(|| interaction["user"]["id"].as_str());
        let profile = forward["profile"].as_str().unwrap_or("main");
        let session_key = session_key.unwrap_or_else(|| match (interaction["guild_id"].as_str(), user) {
            (None, _) => format!("agent:{profile}:relay:dm:{chat_id}"),
            (Some(_), None) => format!("agent:{profile}:relay:channel:{chat_id}"),
            (Some(_), Some(user)) => format!("agent:{profile}:relay:channel:{chat_id}:{user}"),
        });
        let place =
            Place { gateway_id: gateway_id.to_owned(), platform: "relay".to_owned(), chat_id: chat_id.to_owned() };
        self.rooms.bind(session_key, place, interaction["id"].as_str().map(str::to_owned));
    }
}
