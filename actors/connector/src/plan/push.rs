//! Pushes to a gateway: events, forwards, interrupts, and messages of the chat page.

use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::event::{InboundEvent, PromptResponse, Source};
use caduceus_contract::wire::frame::{FromConnector, Inbound, PassthroughForward};
use caduceus_contract::wire::interaction;
use caduceus_contract::wire::session::{SessionKey, SessionRules};
use serde_json::Value;

use super::ConnectorPlan;
use crate::inbound::{ChatInput, EmulatedPlatform, PressedButton, Push, PushError, Pushed};
use crate::room::RoomKey;
use crate::steps::ConnectorStep;

impl ConnectorPlan {
    /// Pushes to a gateway, or buffers until the gateway is connected.
    pub(crate) fn push(
        &mut self,
        gateway_id: Option<&str>,
        push: Push,
        now_ms: i64,
    ) -> Result<(Pushed, Vec<ConnectorStep>), PushError> {
        let gateway_id = self.resolve_gateway(gateway_id)?;
        let connection = self.ready_connection(&gateway_id);
        match push {
            Push::Event { event, buffer_id, live } => {
                if !event.is_object() || event.get("source").is_some_and(|source| !source.is_object()) {
                    return Err(PushError::NotAnObject);
                }
                if let Some(event_id) = event.get("message_id").and_then(Value::as_str) {
                    self.traffic.pushed(&gateway_id, event_id);
                }
                let chat_event = self.rooms.record_user_message(&gateway_id, &event, now_ms).map(ConnectorStep::Chat);
                let frame = |buffer_id| FromConnector::Inbound(Box::new(Inbound::new(&event, buffer_id)));
                let (pushed, mut steps) = self.deliver(&gateway_id, frame, buffer_id, live, now_ms)?;
                steps.extend(chat_event);
                Ok((pushed, steps))
            }
            Push::Forward { forward, session_key, buffer_id, live } => {
                if !forward.is_object() {
                    return Err(PushError::NotAnObject);
                }
                self.bind_interaction(&gateway_id, &forward, session_key);
                let frame = |buffer_id| {
                    FromConnector::PassthroughForward(Box::new(PassthroughForward::new(&forward, buffer_id)))
                };
                self.deliver(&gateway_id, frame, buffer_id, live, now_ms)
            }
            Push::Interrupt { session_key, chat_id } => {
                let line = FromConnector::InterruptInbound { session_key, chat_id }.to_line();
                let steps: Vec<ConnectorStep> =
                    connection.map(|connection| self.write(connection, line)).into_iter().collect();
                Ok((Pushed { delivered: u32::from(connection.is_some()), buffer_id: None }, steps))
            }
            Push::Raw(text) => {
                // Also to a gateway that has not sent a hello.
                let connection = self.current.get(&gateway_id).copied();
                let steps: Vec<ConnectorStep> =
                    connection.map(|connection| self.write(connection, text)).into_iter().collect();
                Ok((Pushed { delivered: u32::from(connection.is_some()), buffer_id: None }, steps))
            }
        }
    }

    /// Pushes a message of the chat page to a gateway.
    pub(crate) fn push_chat(
        &mut self,
        input: ChatInput,
        now_ms: i64,
    ) -> Result<(String, Pushed, Vec<ConnectorStep>), PushError> {
        let gateway_id = self.resolve_gateway(input.gateway_id.as_deref())?;
        let (platform, chat_id, chat_type, chat_name, scope_id) = match input.platform {
            EmulatedPlatform::Discord => ("discord", "dev-general", "channel", "general", Some("dev-guild")),
            EmulatedPlatform::Telegram => ("telegram", input.user.id.as_str(), "dm", input.user.name.as_str(), None),
        };
        let mut steps = Vec::new();
        let (content, response) = match &input.press {
            None => (input.text, None),
            Some(PressedButton { prompt_id, option_id }) => {
                let place =
                    RoomKey { gateway_id: gateway_id.clone(), platform: platform.into(), chat_id: chat_id.into() };
                let (label, event) = self.rooms.press(&place, prompt_id, option_id).ok_or(PushError::Prompt)?;
                steps.push(ConnectorStep::Chat(event));
                let (prompt_id, option_id) = (prompt_id.clone(), option_id.clone());
                (label.clone(), Some(PromptResponse { prompt_id, option_id, label }))
            }
        };
        let message_id = self.ids.next(now_ms);
        let response = response.map(|response| serde_json::to_value(response).expect("three texts"));
        let event = InboundEvent {
            text: content,
            message_id: Some(message_id.clone()),
            reply_to_message_id: input.reply_to,
            prompt_response: response,
            source: Source {
                platform: platform.to_owned(),
                chat_id: chat_id.to_owned(),
                chat_type: chat_type.to_owned(),
                chat_name: Some(chat_name.to_owned()),
                user_id: Some(input.user.id.clone()),
                user_name: Some(input.user.name.clone()),
                user_display_name: Some(input.user.name.clone()),
                thread_id: input.thread_id,
                scope_id: scope_id.map(str::to_owned),
                message_id: Some(message_id.clone()),
                profile: input.profile,
                ..Source::default()
            },
            ..InboundEvent::default()
        };
        let push = Push::Event { event: event.to_wire(), buffer_id: None, live: false };
        let (pushed, more) = self.push(Some(&gateway_id), push, now_ms)?;
        steps.extend(more);
        Ok((message_id, pushed, steps))
    }

    /// Binds an interaction to its session key, under which it can be answered until the connector ends.
    fn bind_interaction(&mut self, gateway_id: &str, forward: &Value, session_key: Option<String>) {
        let Ok(forward) = PassthroughForward::new(forward, None).read() else {
            return;
        };
        let Ok(InboundEvent { source, message_id, .. }) = interaction::event(&forward.body) else {
            return;
        };
        if source.chat_id.is_empty() {
            return;
        }
        let session_key = session_key.unwrap_or_else(|| {
            let profile = forward.profile.and_then(|name| ProfileName::parse(&name).ok());
            let profile = profile.unwrap_or_else(ProfileName::default_profile);
            SessionKey::new(&source, &profile, SessionRules::default()).text()
        });
        let place = RoomKey { gateway_id: gateway_id.to_owned(), platform: source.platform, chat_id: source.chat_id };
        self.rooms.bind(session_key, place, message_id);
    }
}
