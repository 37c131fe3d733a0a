//! The chats: what users wrote, what gateways did there. Carries out every action of the contract. Plain data.
//!
//! Every change comes back as a JSON value for the chat windows.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::ids::MessageIds;
use super::room::{ButtonPrompt, ChatMessage, ChatRoom, text};
use super::shape::Shape;

/// Rooms kept; a flood of made-up chats must not fill the memory.
const ROOM_LIMIT: usize = 2_000;
/// Messages of a room that a new window is shown.
const SNAPSHOT_MESSAGES: usize = 200;

/// Where a message belongs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoomPlace {
    pub(super) gateway_id: String,
    pub(super) platform: String,
    pub(super) chat_id: String,
}

/// All rooms.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Rooms {
    by_place: BTreeMap<RoomPlace, ChatRoom>,
    order: VecDeque<RoomPlace>,
    /// Session key to the room and the event that may be followed up.
    capabilities: BTreeMap<String, (RoomPlace, Option<String>)>,
}

/// What a gateway asked for, with everything needed to carry it out.
pub(super) struct OutboundAction<'a> {
    pub(super) gateway_id: &'a str,
    /// The platform that the frame or the session names.
    pub(super) platform: &'a str,
    pub(super) shape: Shape,
    pub(super) action: &'a Map<String, Value>,
}

/// What became of an action.
pub(super) struct ActionOutcome {
    /// Goes into `outbound_result`.
    pub(super) result: Value,
    /// For the chat windows.
    pub(super) change: Option<Value>,
    /// Set when a new message stands in a chat.
    pub(super) message_id: Option<String>,
    /// The event that message answers.
    pub(super) answers: Option<String>,
}

impl ActionOutcome {
    fn done(result: Value, change: Value) -> Self {
        Self { result, change: Some(change), message_id: None, answers: None }
    }

    fn failed(error: impl Into<String>) -> Self {
        let error: String = error.into();
        Self { result: json!({"success": false, "error": error}), change: None, message_id: None, answers: None }
    }
}

impl Rooms {
    /// Notes what a user wrote, as the event tells it.
    pub(super) fn note_user_message(&mut self, gateway_id: &str, event: &Value, now_ms: i64) -> Option<Value> {
        let source = event.get("source")?;
        let text_of = |key: &str| source.get(key).and_then(Value::as_str).map(str::to_owned);
        let place = RoomPlace {
            gateway_id: gateway_id.to_owned(),
            platform: text_of("platform").unwrap_or_else(|| "relay".to_owned()),
            chat_id: text_of("chat_id").filter(|id| !id.is_empty())?,
        };
        let author_id = text_of("user_id").unwrap_or_default();
        let message = ChatMessage {
            id: event.get("message_id").and_then(Value::as_str).unwrap_or_default().to_owned(),
            from: "user",
            author: text_of("user_display_name")
                .or_else(|| text_of("user_name"))
                .unwrap_or_else(|| if author_id.is_empty() { "someone".to_owned() } else { author_id.clone() }),
            author_id,
            text: event.get("text").and_then(Value::as_str).unwrap_or_default().to_owned(),
            reply_to: event.get("reply_to_message_id").and_then(Value::as_str).map(str::to_owned),
            thread_id: text_of("thread_id"),
            edits: 0,
            reactions: BTreeMap::new(),
            prompt: None,
            media: None,
            at_ms: now_ms,
        };
        let room = self.room(&place);
        room.kind = text_of("chat_type").unwrap_or_else(|| "dm".to_owned());
        if let Some(name) = text_of("chat_name") {
            room.name = name;
        }
        let change = json!({"kind": "message", "place": place, "message": message});
        room.keep(message);
        Some(change)
    }

    /// Lets `session_key` be followed up in the room of an interaction.
    pub(super) fn bind(&mut self, session_key: String, place: RoomPlace, event_id: Option<String>) {
        if self.capabilities.len() >= ROOM_LIMIT {
            self.capabilities.pop_first();
        }
        self.capabilities.insert(session_key, (place, event_id));
    }

    /// Marks a prompt as answered; the label of the option, or nothing when there is no such option left to press.
    pub(super) fn press(&mut self, place: &RoomPlace, prompt_id: &str, option_id: &str) -> Option<(String, Value)> {
        let room = self.by_place.get_mut(place)?;
        let message = room.messages.iter_mut().rev().find(|message| {
            message.prompt.as_ref().is_some_and(|prompt| prompt.id == prompt_id && prompt.chosen.is_none())
        })?;
        let prompt = message.prompt.as_mut()?;
        let option = prompt.options.iter().find(|option| option["id"] == option_id)?;
        let label = option["label"].as_str().unwrap_or(option_id).to_owned();
        prompt.chosen = Some(option_id.to_owned());
        Some((label, json!({"kind": "message", "place": place, "message": message})))
    }

    pub(super) fn carry_out(
        &mut self,
        outbound: &OutboundAction<'_>,
        ids: &mut MessageIds,
        now_ms: i64,
    ) -> ActionOutcome {
        let Some(operation) = text(outbound.action, "op") else {
            return ActionOutcome::failed("the action has no op");
        };
        if !outbound.shape.supports(operation) {
            return ActionOutcome::failed(format!("operation {operation} is not supported on {}", outbound.platform));
        }
        let action = outbound.action;
        if operation == "follow_up" {
            let bound = text(action, "session_key").and_then(|key| self.capabilities.get(key));
            let Some((place, event_id)) = bound.cloned() else {
                return ActionOutcome::failed("no capability is bound to this session");
            };
            if text(action, "kind") != Some("discord.interaction_token") {
                return ActionOutcome::failed("no capability of this kind is bound to this session");
            }
            return self.post(outbound, &place, event_id, ids, now_ms);
        }
        let Some(place) = self.place(outbound) else {
            return ActionOutcome::failed("the action names no chat");
        };
        match operation {
            "send" | "send_media" | "prompt" => {
                let reply_to = text(action, "reply_to").map(str::to_owned);
                self.post(outbound, &place, reply_to, ids, now_ms)
            }
            "edit" => self.edit(outbound, &place),
            "react" => self.react(outbound, &place),
            "typing" => ActionOutcome::done(json!({"success": true}), json!({"kind": "typing", "place": place})),
            "get_chat_info" => {
                let room = self.by_place.get(&place);
                let name = room.map(|room| room.name.as_str()).filter(|name| !name.is_empty());
                let kind = room.map_or("dm", |room| room.kind.as_str());
                let info = json!({"name": name.unwrap_or(&place.chat_id), "type": kind});
                ActionOutcome {
                    result: json!({"success": true, "chat_info": info}),
                    change: None,
                    message_id: None,
                    answers: None,
                }
            }
            "thread_create" => self.create_thread(outbound, &place, ids, now_ms),
            "thread_rename" => self.rename_thread(outbound, &place),
            // `supports` has just said that there is no other.
            other => ActionOutcome::failed(format!("operation {other} is not supported")),
        }
    }

    /// Everything a window needs when it opens.
    pub(super) fn snapshot(&self) -> Value {
        let rooms: Vec<Value> = self
            .by_place
            .iter()
            .map(|(place, room)| {
                let skipped = room.messages.len().saturating_sub(SNAPSHOT_MESSAGES);
                let messages: Vec<&ChatMessage> = room.messages.iter().skip(skipped).collect();
                json!({"place": place, "threads": room.threads, "messages": messages})
            })
            .collect();
        json!({"kind": "snapshot", "rooms": rooms})
    }

    fn post(
        &mut self,
        outbound: &OutboundAction<'_>,
        place: &RoomPlace,
        reply_to: Option<String>,
        ids: &mut MessageIds,
        now_ms: i64,
    ) -> ActionOutcome {
        let action = outbound.action;
        let content = text(action, "content").unwrap_or_default();
        if let Some(error) = outbound.shape.too_long(content) {
            return ActionOutcome::failed(error);
        }
        let prompt = if text(action, "op") == Some("prompt") {
            match ButtonPrompt::of(action) {
                Ok(prompt) => Some(prompt),
                Err(error) => return ActionOutcome::failed(error),
            }
        } else {
            None
        };
        let media = text(action, "source_url")
            .map(|url| json!({"kind": text(action, "media_kind"), "url": url, "filename": text(action, "filename")}));
        if text(action, "op") == Some("send_media") && media.is_none() {
            return ActionOutcome::failed("the action names no source_url");
        }
        if content.is_empty() && media.is_none() && prompt.is_none() {
            return ActionOutcome::failed("the message is empty");
        }
        let metadata = action.get("metadata").and_then(Value::as_object);
        let message = ChatMessage {
            id: ids.next(now_ms),
            from: "agent",
            author: "Agent".to_owned(),
            author_id: outbound.gateway_id.to_owned(),
            text: content.to_owned(),
            reply_to: reply_to.clone(),
            thread_id: metadata.and_then(|metadata| text(metadata, "thread_id")).map(str::to_owned),
            edits: 0,
            reactions: BTreeMap::new(),
            prompt,
            media,
            at_ms: now_ms,
        };
        let id = message.id.clone();
        let change = json!({"kind": "message", "place": place, "message": message});
        self.room(place).keep(message);
        ActionOutcome {
            result: json!({"success": true, "message_id": id}),
            change: Some(change),
            message_id: Some(id),
            answers: reply_to,
        }
    }

    fn edit(&mut self, outbound: &OutboundAction<'_>, place: &RoomPlace) -> ActionOutcome {
        let content = text(outbound.action, "content").unwrap_or_default();
        if content.is_empty() {
            return ActionOutcome::failed("the message is empty");
        }
        if let Some(error) = outbound.shape.too_long(content) {
            return ActionOutcome::failed(error);
        }
        let Some(message) = self.message(place, text(outbound.action, "message_id")) else {
            return ActionOutcome::failed("no such message");
        };
        if message.from != "agent" {
            return ActionOutcome::failed("a user's message cannot be edited");
        }
        content.clone_into(&mut message.text);
        message.edits += 1;
        let change = json!({"kind": "message", "place": place, "message": message});
        ActionOutcome::done(json!({"success": true, "message_id": message.id}), change)
    }

    fn react(&mut self, outbound: &OutboundAction<'_>, place: &RoomPlace) -> ActionOutcome {
        let Some(emoji) = text(outbound.action, "emoji").filter(|emoji| (1..=64).contains(&emoji.len())) else {
            return ActionOutcome::failed("the action names no emoji");
        };
        let remove = outbound.action.get("remove").and_then(Value::as_bool).unwrap_or(false);
        let Some(message) = self.message(place, text(outbound.action, "message_id")) else {
            return ActionOutcome::failed("no such message");
        };
        if remove {
            message.reactions.remove(emoji);
        } else if message.reactions.len() < 20 {
            // There is one agent, and a person of one hand reacts once with one emoji.
            message.reactions.insert(emoji.to_owned(), 1);
        } else {
            return ActionOutcome::failed("the message has 20 reactions already");
        }
        let change = json!({"kind": "message", "place": place, "message": message});
        ActionOutcome::done(json!({"success": true}), change)
    }

    fn create_thread(
        &mut self,
        outbound: &OutboundAction<'_>,
        place: &RoomPlace,
        ids: &mut MessageIds,
        now_ms: i64,
    ) -> ActionOutcome {
        let Some(name) = text(outbound.action, "thread_name").filter(|name| !name.is_empty()) else {
            return ActionOutcome::failed("the action names no thread_name");
        };
        let id = ids.next(now_ms);
        self.room(place).threads.insert(id.clone(), name.to_owned());
        let change = json!({"kind": "thread", "place": place, "threadId": id, "name": name});
        ActionOutcome::done(json!({"success": true, "thread_id": id}), change)
    }

    fn rename_thread(&mut self, outbound: &OutboundAction<'_>, place: &RoomPlace) -> ActionOutcome {
        let action = outbound.action;
        let Some(name) = text(action, "thread_name").filter(|name| !name.is_empty()) else {
            return ActionOutcome::failed("the action names no thread_name");
        };
        let id = text(action, "message_id").unwrap_or_default();
        let Some(current) = self.by_place.get_mut(place).and_then(|room| room.threads.get_mut(id)) else {
            return ActionOutcome::failed("no such thread");
        };
        if text(action, "only_if_current_name").is_some_and(|expected| expected != current) {
            return ActionOutcome::failed("the thread has another name by now");
        }
        name.clone_into(current);
        let change = json!({"kind": "thread", "place": place, "threadId": id, "name": name});
        ActionOutcome::done(json!({"success": true, "thread_id": id}), change)
    }

    /// The room an action means: of its platform if there is one, else any of that id, else a new one.
    fn place(&self, outbound: &OutboundAction<'_>) -> Option<RoomPlace> {
        let chat_id = text(outbound.action, "chat_id").filter(|id| !id.is_empty())?;
        let exact = RoomPlace {
            gateway_id: outbound.gateway_id.to_owned(),
            platform: outbound.platform.to_owned(),
            chat_id: chat_id.to_owned(),
        };
        if self.by_place.contains_key(&exact) {
            return Some(exact);
        }
        let same = |place: &&RoomPlace| place.gateway_id == outbound.gateway_id && place.chat_id == chat_id;
        Some(self.by_place.keys().find(same).cloned().unwrap_or(exact))
    }

    fn room(&mut self, place: &RoomPlace) -> &mut ChatRoom {
        if !self.by_place.contains_key(place) {
            self.order.push_back(place.clone());
            if self.order.len() > ROOM_LIMIT
                && let Some(oldest) = self.order.pop_front()
            {
                self.by_place.remove(&oldest);
            }
        }
        self.by_place.entry(place.clone()).or_insert_with(|| ChatRoom { kind: "dm".to_owned(), ..ChatRoom::default() })
    }

    fn message(&mut self, place: &RoomPlace, id: Option<&str>) -> Option<&mut ChatMessage> {
        let id = id?;
        self.by_place.get_mut(place)?.messages.iter_mut().rev().find(|message| message.id == id)
    }
}
