//! Bringing something to a gateway: events, forwards, interrupts, and what people type into the chat page.

use serde_json::{Value, json};

use super::{ConnectorPlan, line};
use crate::inbound::{ChatInput, PlayedPlatform, PressedButton, Push, PushError, Pushed};
use crate::rooms::RoomPlace;
use crate::steps::ConnectorStep;

impl ConnectorPlan {
    /// Brings something to a gateway, or keeps it until the gateway is there.
    pub(crate) fn push(
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
                let change = self.rooms.note_user_message(&gateway_id, &event, now_ms).map(ConnectorStep::Chat);
                let frame = json!({"type": "inbound", "event": event});
                let (pushed, mut steps) = self.deliver(&gateway_id, frame, buffer_id, live, now_ms)?;
                steps.extend(change);
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
    pub(crate) fn said(
        &mut self,
        said: ChatInput,
        now_ms: i64,
    ) -> Result<(String, Pushed, Vec<ConnectorStep>), PushError> {
        let gateway_id = self.addressed(said.gateway_id.as_deref())?;
        let (platform, chat_id, chat_type, chat_name, scope_id) = match said.platform {
            PlayedPlatform::Discord => ("discord", "dev-general", "channel", "general", Some("dev-guild")),
            PlayedPlatform::Telegram => ("telegram", said.user.id.as_str(), "dm", said.user.name.as_str(), None),
        };
        let mut steps = Vec::new();
        let (content, response) = match &said.press {
            None => (said.text, None),
            Some(PressedButton { prompt_id, option_id }) => {
                let place =
                    RoomPlace { gateway_id: gateway_id.clone(), platform: platform.into(), chat_id: chat_id.into() };
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
            RoomPlace { gateway_id: gateway_id.to_owned(), platform: "relay".to_owned(), chat_id: chat_id.to_owned() };
        self.rooms.bind(session_key, place, interaction["id"].as_str().map(str::to_owned));
    }
}
