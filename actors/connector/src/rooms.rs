//! All chats: records the messages of users, and carries out the actions of gateways. Plain data.
//!
//! Every change is returned as a [`ChatEvent`] in JSON, for the chat windows.

use std::collections::{BTreeMap, VecDeque};

use caduceus_contract::wire::action::Action;
use caduceus_contract::wire::action_result::{ActionResult, ChatInfo};
use caduceus_contract::wire::event::InboundEvent;
use caduceus_contract::wire::interaction::FOLLOW_UP_KIND;
use serde_json::Value;

use super::capabilities::Capabilities;
use super::chat_event::{ChatEvent, RoomSnapshot};
use super::ids::MessageIds;
use super::room::{ButtonPrompt, ChatMedia, ChatMessage, ChatRoom, RoomKey};

/// Limit of rooms, which bounds the memory; the oldest is removed first.
const ROOM_LIMIT: usize = 2_000;
/// Messages of a room that a new window shows.
const SNAPSHOT_MESSAGES: usize = 200;

/// All rooms.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Rooms {
    by_key: BTreeMap<RoomKey, ChatRoom>,
    order: VecDeque<RoomKey>,
    /// The room and the event of each interaction that can be followed up, by session key.
    interactions: BTreeMap<String, (RoomKey, Option<String>)>,
}

/// An action of a gateway, with everything needed to carry it out.
pub(super) struct OutboundAction<'a> {
    pub(super) gateway_id: &'a str,
    /// The platform that the frame or the session names.
    pub(super) platform: &'a str,
    pub(super) capabilities: Capabilities,
    pub(super) action: &'a Action,
}

/// The outcome of an action.
pub(super) struct ActionOutcome {
    /// The content of `outbound_result`.
    pub(super) result: ActionResult,
    /// The event for the chat windows.
    pub(super) event: Option<Value>,
    /// Set if the action created a message.
    pub(super) message_id: Option<String>,
    /// The event that the message answers.
    pub(super) answers: Option<String>,
}

impl ActionOutcome {
    fn done(result: ActionResult, event: Value) -> Self {
        Self { result, event: Some(event), message_id: None, answers: None }
    }

    fn failed(error: impl Into<String>) -> Self {
        Self { result: ActionResult::failed(error), event: None, message_id: None, answers: None }
    }
}

impl Rooms {
    /// Records the message of a user; `None` if the event has no chat.
    pub(super) fn record_user_message(&mut self, gateway_id: &str, event: &Value, now_ms: i64) -> Option<Value> {
        let InboundEvent { text, message_id, reply_to_message_id, source, .. } = InboundEvent::parse(event).ok()?;
        if source.chat_id.is_empty() {
            return None;
        }
        let place = RoomKey { gateway_id: gateway_id.to_owned(), platform: source.platform, chat_id: source.chat_id };
        let author_id = source.user_id.unwrap_or_default();
        let message = ChatMessage {
            id: message_id.unwrap_or_default(),
            from: "user",
            author: source
                .user_display_name
                .or(source.user_name)
                .unwrap_or_else(|| if author_id.is_empty() { "unknown".to_owned() } else { author_id.clone() }),
            author_id,
            text,
            reply_to: reply_to_message_id,
            thread_id: source.thread_id,
            edits: 0,
            reactions: BTreeMap::new(),
            prompt: None,
            media: None,
            at_ms: now_ms,
        };
        let room = self.room(&place);
        room.kind = source.chat_type;
        if let Some(name) = source.chat_name {
            room.name = name;
        }
        let event = ChatEvent::Message { place: &place, message: &message }.to_json();
        room.push(message);
        Some(event)
    }

    /// Binds `session_key` to the room of an interaction.
    pub(super) fn bind(&mut self, session_key: String, place: RoomKey, event_id: Option<String>) {
        if self.interactions.len() >= ROOM_LIMIT {
            self.interactions.pop_first();
        }
        self.interactions.insert(session_key, (place, event_id));
    }

    /// Marks a prompt as answered and returns the label of the option; `None` if the option does not exist or was used.
    pub(super) fn press(&mut self, place: &RoomKey, prompt_id: &str, option_id: &str) -> Option<(String, Value)> {
        let room = self.by_key.get_mut(place)?;
        let message = room.messages.iter_mut().rev().find(|message| {
            message.prompt.as_ref().is_some_and(|prompt| prompt.id == prompt_id && prompt.chosen.is_none())
        })?;
        let prompt = message.prompt.as_mut()?;
        let label = prompt.options.iter().find(|option| option.id == option_id)?.label.clone();
        prompt.chosen = Some(option_id.to_owned());
        Some((label, ChatEvent::Message { place, message }.to_json()))
    }

    pub(super) fn carry_out(
        &mut self,
        outbound: &OutboundAction<'_>,
        ids: &mut MessageIds,
        now_ms: i64,
    ) -> ActionOutcome {
        let (action, operation) = (outbound.action, outbound.action.op());
        if !outbound.capabilities.supports(operation) {
            return ActionOutcome::failed(format!("operation {operation} is not supported on {}", outbound.platform));
        }
        if let Action::FollowUp { session_key, kind, .. } = action {
            let Some((place, event_id)) = self.interactions.get(session_key).cloned() else {
                return ActionOutcome::failed("no capability is bound to this session");
            };
            if kind != FOLLOW_UP_KIND {
                return ActionOutcome::failed("no capability of this kind is bound to this session");
            }
            return self.post(outbound, &place, event_id, ids, now_ms);
        }
        let Some(place) = self.place(outbound) else {
            return ActionOutcome::failed("the action names no chat");
        };
        match action {
            Action::Send { reply_to, .. } | Action::SendMedia { reply_to, .. } => {
                self.post(outbound, &place, reply_to.clone(), ids, now_ms)
            }
            Action::Prompt { .. } => self.post(outbound, &place, None, ids, now_ms),
            Action::Edit { message_id, content, .. } => self.edit(outbound.capabilities, &place, message_id, content),
            Action::React { message_id, emoji, remove, .. } => self.react(&place, message_id, emoji, *remove),
            Action::Typing { .. } => {
                ActionOutcome::done(ActionResult::done(), ChatEvent::Typing { place: &place }.to_json())
            }
            Action::GetChatInfo { .. } => self.chat_info(place),
            Action::ThreadCreate { thread_name, .. } => self.create_thread(&place, thread_name, ids, now_ms),
            Action::ThreadRename { message_id, thread_name, only_if_current_name, .. } => {
                self.rename_thread(&place, message_id, thread_name, only_if_current_name.as_deref())
            }
            // `FollowUp` is carried out above, and `supports` accepts no other operation.
            Action::FollowUp { .. } | Action::Other(_) => {
                ActionOutcome::failed(format!("operation {operation} is not supported"))
            }
        }
    }

    /// The state that a new window shows.
    pub(super) fn snapshot(&self) -> Value {
        let rooms = self.by_key.iter().map(|(place, room)| {
            let skipped = room.messages.len().saturating_sub(SNAPSHOT_MESSAGES);
            RoomSnapshot { place, threads: &room.threads, messages: room.messages.iter().skip(skipped).collect() }
        });
        ChatEvent::Snapshot { rooms: rooms.collect() }.to_json()
    }

    fn post(
        &mut self,
        outbound: &OutboundAction<'_>,
        place: &RoomKey,
        reply_to: Option<String>,
        ids: &mut MessageIds,
        now_ms: i64,
    ) -> ActionOutcome {
        let action = outbound.action;
        let content = action.content().unwrap_or_default();
        if let Some(error) = outbound.capabilities.too_long(content) {
            return ActionOutcome::failed(error);
        }
        let prompt = match action {
            Action::Prompt { prompt_id, prompt_kind, options, .. } => {
                match ButtonPrompt::new(prompt_id, prompt_kind, options) {
                    Ok(prompt) => Some(prompt),
                    Err(error) => return ActionOutcome::failed(error),
                }
            }
            _ => None,
        };
        let media = match action {
            Action::SendMedia { media_kind, source_url, filename, .. } => {
                Some(ChatMedia { kind: media_kind.clone(), url: source_url.clone(), filename: filename.clone() })
            }
            _ => None,
        };
        if content.is_empty() && media.is_none() && prompt.is_none() {
            return ActionOutcome::failed("the message is empty");
        }
        let thread_id = action.metadata().and_then(|metadata| metadata.get("thread_id")).and_then(Value::as_str);
        let message = ChatMessage {
            id: ids.next(now_ms),
            from: "agent",
            author: "Agent".to_owned(),
            author_id: outbound.gateway_id.to_owned(),
            text: content.to_owned(),
            reply_to: reply_to.clone(),
            thread_id: thread_id.map(str::to_owned),
            edits: 0,
            reactions: BTreeMap::new(),
            prompt,
            media,
            at_ms: now_ms,
        };
        let id = message.id.clone();
        let event = ChatEvent::Message { place, message: &message }.to_json();
        self.room(place).push(message);
        ActionOutcome {
            result: ActionResult { message_id: Some(id.clone()), ..ActionResult::done() },
            event: Some(event),
            message_id: Some(id),
            answers: reply_to,
        }
    }

    fn edit(&mut self, capabilities: Capabilities, place: &RoomKey, message_id: &str, content: &str) -> ActionOutcome {
        if content.is_empty() {
            return ActionOutcome::failed("the message is empty");
        }
        if let Some(error) = capabilities.too_long(content) {
            return ActionOutcome::failed(error);
        }
        let Some(message) = self.message(place, message_id) else {
            return ActionOutcome::failed("no such message");
        };
        if message.from != "agent" {
            return ActionOutcome::failed("a user's message cannot be edited");
        }
        content.clone_into(&mut message.text);
        message.edits += 1;
        let event = ChatEvent::Message { place, message }.to_json();
        let message_id = Some(message.id.clone());
        ActionOutcome::done(ActionResult { message_id, ..ActionResult::done() }, event)
    }

    fn react(&mut self, place: &RoomKey, message_id: &str, emoji: &str, remove: bool) -> ActionOutcome {
        if !(1..=64).contains(&emoji.len()) {
            return ActionOutcome::failed("the action names no emoji");
        }
        let Some(message) = self.message(place, message_id) else {
            return ActionOutcome::failed("no such message");
        };
        if remove {
            message.reactions.remove(emoji);
        } else if message.reactions.len() < 20 {
            // There is one agent, which can react once with each emoji.
            message.reactions.insert(emoji.to_owned(), 1);
        } else {
            return ActionOutcome::failed("the message has 20 reactions already");
        }
        let event = ChatEvent::Message { place, message }.to_json();
        ActionOutcome::done(ActionResult::done(), event)
    }

    fn chat_info(&self, place: RoomKey) -> ActionOutcome {
        let room = self.by_key.get(&place);
        let name = room.map(|room| room.name.clone()).filter(|name| !name.is_empty());
        let chat_type = room.map_or_else(|| "dm".to_owned(), |room| room.kind.clone());
        let info = ChatInfo { name: name.unwrap_or(place.chat_id), chat_type };
        let chat_info = Some(serde_json::to_value(info).expect("two texts"));
        let result = ActionResult { chat_info, ..ActionResult::done() };
        ActionOutcome { result, event: None, message_id: None, answers: None }
    }

    fn create_thread(&mut self, place: &RoomKey, name: &str, ids: &mut MessageIds, now_ms: i64) -> ActionOutcome {
        if name.is_empty() {
            return ActionOutcome::failed("the action names no thread_name");
        }
        let id = ids.next(now_ms);
        self.room(place).threads.insert(id.clone(), name.to_owned());
        let event = ChatEvent::Thread { place, thread_id: &id, name }.to_json();
        ActionOutcome::done(ActionResult { thread_id: Some(id), ..ActionResult::done() }, event)
    }

    fn rename_thread(&mut self, place: &RoomKey, id: &str, name: &str, expected: Option<&str>) -> ActionOutcome {
        if name.is_empty() {
            return ActionOutcome::failed("the action names no thread_name");
        }
        let Some(current) = self.by_key.get_mut(place).and_then(|room| room.threads.get_mut(id)) else {
            return ActionOutcome::failed("no such thread");
        };
        if expected.is_some_and(|expected| expected != current) {
            return ActionOutcome::failed("the thread has another name by now");
        }
        name.clone_into(current);
        let event = ChatEvent::Thread { place, thread_id: id, name }.to_json();
        ActionOutcome::done(ActionResult { thread_id: Some(id.to_owned()), ..ActionResult::done() }, event)
    }

    /// The room of an action: of its platform if there is one, else any with that id, else a new one.
    fn place(&self, outbound: &OutboundAction<'_>) -> Option<RoomKey> {
        let chat_id = outbound.action.chat_id().filter(|id| !id.is_empty())?;
        let exact = RoomKey {
            gateway_id: outbound.gateway_id.to_owned(),
            platform: outbound.platform.to_owned(),
            chat_id: chat_id.to_owned(),
        };
        if self.by_key.contains_key(&exact) {
            return Some(exact);
        }
        let same = |place: &&RoomKey| place.gateway_id == outbound.gateway_id && place.chat_id == chat_id;
        Some(self.by_key.keys().find(same).cloned().unwrap_or(exact))
    }

    fn room(&mut self, place: &RoomKey) -> &mut ChatRoom {
        if !self.by_key.contains_key(place) {
            self.order.push_back(place.clone());
            if self.order.len() > ROOM_LIMIT
                && let Some(oldest) = self.order.pop_front()
            {
                self.by_key.remove(&oldest);
            }
        }
        self.by_key.entry(place.clone()).or_insert_with(|| ChatRoom { kind: "dm".to_owned(), ..ChatRoom::default() })
    }

    fn message(&mut self, place: &RoomKey, id: &str) -> Option<&mut ChatMessage> {
        self.by_key.get_mut(place)?.messages.iter_mut().rev().find(|message| message.id == id)
    }
}
