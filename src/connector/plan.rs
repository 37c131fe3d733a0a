//! Everything the connector decides: who may dial, what is written where, what waits. No actix, no I/O, no clock.
//!
//! [`Hub`](super::hub::Hub) owns one and carries out its [`Step`]s in order. A restart loses the rooms and the
//! account; credentials and waiting frames are in the data file, when there is one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::account::{Account, Answer};
use super::faults::{Faults, Refuse};
use super::rooms::{Ids, Outbound, Place, Rooms};
use super::shape::Shape;
use super::store::{Credentials, Grant, GrantError, Provision, Refusal, Store};

/// The close code for a token that is not good.
pub(super) const UNAUTHORIZED_CODE: u16 = 4_401;
/// The close code of a connection whose gateway has dialled anew.
const SUPERSEDED_CODE: u16 = 4_000;
/// Frames written and not yet acknowledged on one connection; the rest waits here, not in the socket.
const WINDOW: usize = 512;
/// Frames that wait for one gateway.
const BUFFER_LIMIT: usize = 10_000;
/// Between two wakings of one gateway.
const WAKE_PAUSE_MS: i64 = 60_000;
/// How long a frame waits for the one it shall change places with.
pub(super) const REORDER_PATIENCE: Duration = Duration::from_millis(250);

/// Something to carry out.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Write text to a connection, after a pause; what is written to one connection keeps its order.
    Write { connection: u64, text: String, after: Duration },
    /// Close with a close frame.
    Close { connection: u64, code: u16, reason: String },
    /// End without a word.
    Cut { connection: u64 },
    /// Leave it open and never say anything again.
    Freeze { connection: u64 },
    /// Call [`Plan::release`] after [`REORDER_PATIENCE`].
    ReleaseLater { connection: u64 },
    /// A frame came from a gateway.
    Frame { gateway_id: String, frame: Value },
    /// The chat windows should know.
    Chat(Value),
    /// What [`Plan::status`] answers has changed.
    Status,
    /// Ask the gateway to dial.
    Wake { url: String },
    /// What belongs into the data file has changed.
    Save,
}

/// What becomes of a dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admission {
    Accept { connection: u64, gateway_id: String },
    Close { code: u16, reason: String },
    Status(u16),
}

/// Something to bring to a gateway.
#[derive(Debug, Clone)]
pub(super) enum Push {
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
pub(super) struct Pushed {
    /// Connections it was written to by now.
    pub(super) delivered: u32,
    /// Under which it waits for its acknowledgement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) buffer_id: Option<String>,
}

/// Why nothing was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PushError {
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
pub(super) struct Said {
    pub(super) gateway_id: Option<String>,
    pub(super) platform: Platform,
    pub(super) user: User,
    #[serde(default)]
    pub(super) text: String,
    pub(super) profile: Option<String>,
    pub(super) thread_id: Option<String>,
    pub(super) reply_to: Option<String>,
    /// A pressed button instead of a text.
    pub(super) press: Option<Press>,
}

/// The shapes the page can play.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Platform {
    Discord,
    Telegram,
}

#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub(super) id: String,
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Press {
    pub(super) prompt_id: String,
    pub(super) option_id: String,
}

/// What the data file holds.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Saved {
    store: Store,
    buffers: BTreeMap<String, VecDeque<Entry>>,
}

/// The whole state of the connector.
#[derive(Default)]
pub(super) struct Plan {
    saved: Saved,
    /// Whether a gateway may dial without a token.
    open: bool,
    links: HashMap<u64, Link>,
    /// The one connection of each gateway.
    current: BTreeMap<String, u64>,
    faults: HashMap<Option<String>, Faults>,
    account: Account,
    rooms: Rooms,
    ids: Ids,
    last_connection: u64,
    last_wakes: BTreeMap<String, i64>,
}

struct Link {
    gateway_id: String,
    /// `(platform, botId)` of each hello; the first is the session's default.
    identities: Vec<(String, String)>,
    idle: bool,
    /// Waits for the frame it shall change places with.
    held: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    buffer_id: String,
    frame: Value,
    /// The connection it was last written to; none of these is left after a restart.
    #[serde(skip)]
    sent_on: Option<u64>,
}

impl Plan {
    pub(super) fn new(saved: Saved, open: bool) -> Self {
        Self { saved, open, ..Self::default() }
    }

    pub(super) fn saved(&self) -> &Saved {
        &self.saved
    }

    /// Decides on a dial. An accepted one counts from [`Plan::opened`] on.
    pub(super) fn admit(&mut self, token: Option<&str>, now_ms: i64) -> Admission {
        let gateway_id = match self.saved.store.admit(token, self.open, now_ms / 1_000) {
            Ok(gateway_id) => gateway_id,
            Err(refusal) => return close_refused(refusal),
        };
        let faults = if self.faults.contains_key(&Some(gateway_id.clone())) { Some(gateway_id.clone()) } else { None };
        if let Some(refuse) = self.faults.get_mut(&faults).and_then(Faults::take_refusal) {
            self.account.refused(&gateway_id);
            return refused(refuse);
        }
        self.last_connection += 1;
        Admission::Accept { connection: self.last_connection, gateway_id }
    }

    /// An accepted connection is up. The gateway's older one is closed.
    pub(super) fn opened(&mut self, connection: u64, gateway_id: &str, now_ms: i64) -> Vec<Step> {
        let mut steps = vec![Step::Status];
        if let Some(older) = self.current.insert(gateway_id.to_owned(), connection) {
            self.links.remove(&older);
            steps.push(Step::Close { connection: older, code: SUPERSEDED_CODE, reason: "superseded".into() });
        }
        let link = Link { gateway_id: gateway_id.to_owned(), identities: Vec::new(), idle: false, held: None };
        self.links.insert(connection, link);
        self.account.opened(gateway_id, now_ms);
        if self.faults_of(gateway_id).half_open {
            steps.push(Step::Freeze { connection });
        }
        steps
    }

    /// A connection has ended, whoever ended it.
    pub(super) fn closed(&mut self, connection: u64, gateway_id: &str, now_ms: i64) -> Vec<Step> {
        self.account.closed(gateway_id, now_ms);
        self.links.remove(&connection);
        if self.current.get(gateway_id) == Some(&connection) {
            self.current.remove(gateway_id);
        }
        vec![Step::Status]
    }

    /// Takes one line of a gateway. What is no frame of the contract is counted and passed over.
    pub(super) fn received(&mut self, connection: u64, received: &str, now_ms: i64) -> Vec<Step> {
        let Some(link) = self.links.get(&connection) else {
            return Vec::new();
        };
        let gateway_id = link.gateway_id.clone();
        let Ok(Value::Object(frame)) = serde_json::from_str::<Value>(received) else {
            self.account.malformed();
            return Vec::new();
        };
        let kind = text(&frame, "type").unwrap_or_default().to_owned();
        self.account.frame(&gateway_id, &kind);
        let mut steps = vec![Step::Frame { gateway_id: gateway_id.clone(), frame: Value::Object(frame.clone()) }];
        let more = match kind.as_str() {
            "hello" => self.hello(connection, &frame),
            "outbound" => self.outbound(connection, &gateway_id, &frame, now_ms),
            "inbound_ack" => self.acknowledged(connection, &gateway_id, &frame),
            "going_idle" => Some(self.going_idle(connection)),
            "interrupt" => self.interrupt(connection, &frame),
            // What we write ourselves, and what a later contract may bring.
            _ => Some(Vec::new()),
        };
        match more {
            Some(more) => steps.extend(more),
            None => self.account.malformed(),
        }
        steps
    }

    /// Brings something to a gateway, or keeps it until the gateway is there.
    pub(super) fn push(
        &mut self,
        gateway_id: Option<&str>,
        push: Push,
        now_ms: i64,
    ) -> Result<(Pushed, Vec<Step>), PushError> {
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
                let news = self.rooms.heard(&gateway_id, &event, now_ms).map(Step::Chat);
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
                let steps: Vec<Step> =
                    connection.map(|connection| self.write(connection, line(&frame))).into_iter().collect();
                Ok((Pushed { delivered: u32::from(connection.is_some()), buffer_id: None }, steps))
            }
            Push::Raw(text) => {
                // Even to a gateway that has not said hello.
                let connection = self.current.get(&gateway_id).copied();
                let steps: Vec<Step> = connection.map(|connection| self.write(connection, text)).into_iter().collect();
                Ok((Pushed { delivered: u32::from(connection.is_some()), buffer_id: None }, steps))
            }
        }
    }

    /// Brings a message of the chat page to a gateway.
    pub(super) fn said(&mut self, said: Said, now_ms: i64) -> Result<(String, Pushed, Vec<Step>), PushError> {
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
                steps.push(Step::Chat(pressed.1));
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

    /// Writes the frame that has waited for another in vain.
    pub(super) fn release(&mut self, connection: u64) -> Vec<Step> {
        let held = self.links.get_mut(&connection).and_then(|link| link.held.take());
        held.map(|held| self.write(connection, held)).into_iter().collect()
    }

    /// Sets the standing switches and carries out what happens once.
    pub(super) fn set_faults(&mut self, faults: Faults) -> Result<(Faults, Vec<Step>), PushError> {
        if let Some(gateway_id) = &faults.gateway_id
            && self.saved.store.get(gateway_id).is_none()
        {
            return Err(PushError::Unknown);
        }
        let concerned: Vec<u64> = self
            .current
            .iter()
            .filter(|(gateway_id, _)| faults.gateway_id.as_ref().is_none_or(|named| named == *gateway_id))
            .map(|(_, connection)| *connection)
            .collect();
        let mut steps = Vec::new();
        for connection in concerned {
            if let Some(close) = &faults.close {
                steps.push(Step::Close { connection, code: close.code, reason: close.reason.clone() });
            } else if faults.drop {
                steps.push(Step::Cut { connection });
            } else if faults.half_open {
                steps.push(Step::Freeze { connection });
            }
        }
        self.faults.insert(faults.gateway_id.clone(), faults.clone());
        Ok((faults, steps))
    }

    pub(super) fn register(&mut self, gateway_id: Option<String>, now_ms: i64) -> Result<Credentials, GrantError> {
        self.saved.store.register(gateway_id, now_ms / 1_000)
    }

    pub(super) fn enroll(
        &mut self,
        access_token: Option<&str>,
        enrollment_token: &str,
        gateway_id: &str,
        now_ms: i64,
    ) -> Result<Grant, GrantError> {
        self.saved.store.enroll(access_token, enrollment_token, gateway_id, now_ms / 1_000)
    }

    pub(super) fn provision(
        &mut self,
        access_token: Option<&str>,
        asked: Provision,
        now_ms: i64,
    ) -> Result<Grant, GrantError> {
        self.saved.store.provision(access_token, asked, now_ms / 1_000)
    }

    pub(super) fn rotate(&mut self, gateway_id: &str, window_s: i64, now_ms: i64) -> Result<Grant, GrantError> {
        self.saved.store.rotate(gateway_id, window_s, now_ms / 1_000)
    }

    /// Revokes every secret and closes the link.
    pub(super) fn deprovision(&mut self, gateway_id: &str) -> Result<Vec<Step>, GrantError> {
        self.saved.store.deprovision(gateway_id)?;
        let mut steps = vec![Step::Save];
        if let Some(&connection) = self.current.get(gateway_id) {
            let reason = Refusal::Unauthorized.reason().to_owned();
            steps.push(Step::Close { connection, code: UNAUTHORIZED_CODE, reason });
        }
        Ok(steps)
    }

    /// Keeps a relevance policy. The upgrade token says whose it is.
    pub(super) fn set_policy(
        &mut self,
        token: Option<&str>,
        platform: &str,
        policy: Value,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        let gateway_id = self.saved.store.admit(token, self.open, now_ms / 1_000)?;
        if let Some(gateway) = self.saved.store.get_mut(&gateway_id) {
            gateway.policies.insert(platform.to_owned(), policy);
        }
        Ok(())
    }

    /// Where signed deliveries for a gateway go, and the key that signs them.
    pub(super) fn endpoint(&self, gateway_id: Option<&str>) -> Result<(Option<String>, String), PushError> {
        let gateway_id = self.addressed(gateway_id)?;
        let store = &self.saved.store;
        let endpoint = store.get(&gateway_id).and_then(|gateway| gateway.endpoint.clone());
        Ok((endpoint, store.delivery_key(&gateway_id).unwrap_or_default().to_owned()))
    }

    /// Answers `GET /dev/account`.
    pub(super) fn account(&self) -> Value {
        let mut account = self.account.snapshot();
        account["links"] = self.status()["gateways"].clone();
        let registered = |id: &String| {
            let gateway = self.saved.store.get(id)?;
            let entry = json!({
                "policies": gateway.policies, "identities": gateway.identities, "routeKeys": gateway.route_keys,
                "endpoint": gateway.endpoint, "instanceId": gateway.instance_id, "wakeUrl": gateway.wake_url,
            });
            Some((id.clone(), entry))
        };
        account["registered"] = Value::Object(self.saved.store.ids().filter_map(registered).collect());
        account
    }

    /// Who is known and who is there, for the chat windows.
    pub(super) fn status(&self) -> Value {
        let gateways: Vec<Value> = self
            .saved
            .store
            .ids()
            .map(|id| {
                let link = self.current.get(id).and_then(|connection| self.links.get(connection));
                let identities: Vec<Value> = link
                    .into_iter()
                    .flat_map(|link| &link.identities)
                    .map(|(platform, bot_id)| json!({"platform": platform, "botId": bot_id}))
                    .collect();
                json!({
                    "gatewayId": id,
                    "connected": link.is_some_and(|link| !link.identities.is_empty()),
                    "idle": link.is_some_and(|link| link.idle),
                    "buffered": self.saved.buffers.get(id).map_or(0, VecDeque::len),
                    "identities": identities,
                })
            })
            .collect();
        json!({"kind": "status", "gateways": gateways})
    }

    /// What a chat window is shown when it opens.
    pub(super) fn chat_snapshot(&self) -> Value {
        self.rooms.snapshot()
    }

    /// Every connection that is up.
    pub(super) fn connections(&self) -> Vec<u64> {
        self.current.values().copied().collect()
    }

    fn hello(&mut self, connection: u64, frame: &Map<String, Value>) -> Option<Vec<Step>> {
        let platform = text(frame, "platform").filter(|platform| !platform.is_empty())?.to_owned();
        let bot_id = text(frame, "botId").unwrap_or_default().to_owned();
        let link = self.links.get_mut(&connection)?;
        link.idle = false;
        let descriptor = Shape::of(&platform).descriptor(&platform);
        // A peer that says hello without end gets answers without end, and no more memory.
        if link.identities.len() < 64
            && !link.identities.iter().any(|known| *known == (platform.clone(), bot_id.clone()))
        {
            link.identities.push((platform, bot_id));
        }
        let mut steps = vec![self.write(connection, line(&json!({"type": "descriptor", "descriptor": descriptor})))];
        steps.extend(self.flush(connection));
        steps.push(Step::Status);
        Some(steps)
    }

    fn outbound(
        &mut self,
        connection: u64,
        gateway_id: &str,
        frame: &Map<String, Value>,
        now_ms: i64,
    ) -> Option<Vec<Step>> {
        let request_id = text(frame, "requestId").filter(|id| !id.is_empty())?;
        let action = frame.get("action")?.as_object()?;
        let link = self.links.get(&connection)?;
        let mut steps = Vec::new();
        let result = match identity(link, text(frame, "platform"), text(frame, "botId")) {
            Err(error) => json!({"success": false, "error": error}),
            Ok((platform, shape)) => {
                let outbound = Outbound { gateway_id, platform: &platform, shape, action };
                let outcome = self.rooms.carry_out(&outbound, &mut self.ids, now_ms);
                if let Some(message_id) = &outcome.message_id {
                    let answer = Answer {
                        gateway_id,
                        event_id: outcome.answers.as_deref(),
                        operation: text(action, "op").unwrap_or_default(),
                        message_id,
                        repeat: is_marked_repeat(action),
                    };
                    self.account.answered(&answer, now_ms);
                }
                steps.extend(outcome.news.map(Step::Chat));
                outcome.result
            }
        };
        let faults = self.faults_of(gateway_id);
        if !faults.answer_never {
            let text = line(&json!({"type": "outbound_result", "requestId": request_id, "result": result}));
            let after = Duration::from_millis(faults.delay_ms.saturating_add(faults.answer_late_ms));
            steps.push(Step::Write { connection, text, after });
        }
        Some(steps)
    }

    fn acknowledged(&mut self, connection: u64, gateway_id: &str, frame: &Map<String, Value>) -> Option<Vec<Step>> {
        let buffer_id = text(frame, "bufferId")?;
        let buffer = self.saved.buffers.entry(gateway_id.to_owned()).or_default();
        // A second acknowledgement is as good as the first.
        let Some(index) = buffer.iter().position(|entry| entry.buffer_id == buffer_id) else {
            return Some(Vec::new());
        };
        let entry = buffer.remove(index)?;
        if let Some(event_id) = event_id(&entry.frame) {
            self.account.acked(gateway_id, event_id);
        }
        let mut steps = vec![Step::Save, Step::Status];
        steps.extend(self.flush(connection));
        Some(steps)
    }

    fn going_idle(&mut self, connection: u64) -> Vec<Step> {
        if let Some(link) = self.links.get_mut(&connection) {
            link.idle = true;
        }
        vec![self.write(connection, line(&json!({"type": "going_idle_ack"}))), Step::Status]
    }

    /// A gateway stops a session: said to the instance that runs it, which is here always the same one.
    fn interrupt(&mut self, connection: u64, frame: &Map<String, Value>) -> Option<Vec<Step>> {
        let session_key = text(frame, "session_key").filter(|key| !key.is_empty())?;
        let echo = json!({"type": "interrupt_inbound", "session_key": session_key, "chat_id": chat_of(session_key)});
        Some(vec![self.write(connection, line(&echo))])
    }

    /// Keeps a frame, unless it is `live`, and writes it if its gateway listens.
    fn deliver(
        &mut self,
        gateway_id: &str,
        mut frame: Value,
        buffer_id: Option<String>,
        live: bool,
        now_ms: i64,
    ) -> Result<(Pushed, Vec<Step>), PushError> {
        let connection = self.ready(gateway_id);
        if live {
            let Some(connection) = connection else {
                return Ok((Pushed { delivered: 0, buffer_id: None }, Vec::new()));
            };
            if let Some(event_id) = event_id(&frame) {
                self.account.sent(gateway_id, event_id);
            }
            return Ok((Pushed { delivered: 1, buffer_id: None }, self.write_inbound(connection, line(&frame))));
        }
        let buffer_id = buffer_id.unwrap_or_else(|| format!("buffer-{}", self.ids.next(now_ms)));
        frame["bufferId"] = Value::String(buffer_id.clone());
        let buffer = self.saved.buffers.entry(gateway_id.to_owned()).or_default();
        if buffer.len() >= BUFFER_LIMIT {
            return Err(PushError::Full);
        }
        buffer.push_back(Entry { buffer_id: buffer_id.clone(), frame, sent_on: None });
        let mut steps = vec![Step::Save, Step::Status];
        let mut delivered = 0;
        if let Some(connection) = connection {
            steps.extend(self.flush(connection));
            let last = self.saved.buffers.get(gateway_id).and_then(VecDeque::back);
            delivered = u32::from(last.is_some_and(|entry| entry.sent_on == Some(connection)));
        }
        if delivered == 0 && connection.is_none() {
            steps.extend(self.wake(gateway_id, now_ms));
        }
        Ok((Pushed { delivered, buffer_id: Some(buffer_id) }, steps))
    }

    /// Writes what waits for the gateway of a connection, in order, as far as the window reaches.
    fn flush(&mut self, connection: u64) -> Vec<Step> {
        let Some(link) = self.links.get(&connection) else {
            return Vec::new();
        };
        let gateway_id = link.gateway_id.clone();
        if self.ready(&gateway_id) != Some(connection) {
            return Vec::new();
        }
        let mut lines = Vec::new();
        for entry in self.saved.buffers.entry(gateway_id.clone()).or_default().iter_mut().take(WINDOW) {
            if entry.sent_on != Some(connection) {
                entry.sent_on = Some(connection);
                if let Some(event_id) = event_id(&entry.frame) {
                    self.account.sent(&gateway_id, event_id);
                }
                lines.push(line(&entry.frame));
            }
        }
        lines.into_iter().flat_map(|line| self.write_inbound(connection, line)).collect()
    }

    fn wake(&mut self, gateway_id: &str, now_ms: i64) -> Option<Step> {
        let url = self.saved.store.get(gateway_id)?.wake_url.clone()?;
        if self.last_wakes.get(gateway_id).is_some_and(|last| now_ms - last < WAKE_PAUSE_MS) {
            return None;
        }
        self.last_wakes.insert(gateway_id.to_owned(), now_ms);
        Some(Step::Wake { url })
    }

    /// One inbound line, twice or out of turn when the switches say so.
    fn write_inbound(&mut self, connection: u64, text: String) -> Vec<Step> {
        let Some(gateway_id) = self.links.get(&connection).map(|link| link.gateway_id.clone()) else {
            return Vec::new();
        };
        let faults = self.faults_of(&gateway_id);
        let mut texts = vec![text];
        if faults.duplicate {
            texts.push(texts[0].clone());
        }
        if faults.reorder
            && let Some(link) = self.links.get_mut(&connection)
        {
            let Some(held) = link.held.take() else {
                link.held = Some(texts.concat());
                return vec![Step::ReleaseLater { connection }];
            };
            texts.push(held);
        }
        texts.into_iter().map(|text| self.write(connection, text)).collect()
    }

    fn write(&self, connection: u64, text: String) -> Step {
        let delay = self.links.get(&connection).map_or(0, |link| self.faults_of(&link.gateway_id).delay_ms);
        Step::Write { connection, text, after: Duration::from_millis(delay) }
    }

    fn faults_of(&self, gateway_id: &str) -> Faults {
        let own = self.faults.get(&Some(gateway_id.to_owned()));
        own.or_else(|| self.faults.get(&None)).cloned().unwrap_or_default()
    }

    /// The connection on which a gateway listens: it has said hello and is not idle.
    fn ready(&self, gateway_id: &str) -> Option<u64> {
        let connection = *self.current.get(gateway_id)?;
        let link = self.links.get(&connection)?;
        (!link.identities.is_empty() && !link.idle).then_some(connection)
    }

    /// The gateway that is named, or the only one that can be meant.
    fn addressed(&self, gateway_id: Option<&str>) -> Result<String, PushError> {
        if let Some(gateway_id) = gateway_id {
            return self.saved.store.get(gateway_id).map(|_| gateway_id.to_owned()).ok_or(PushError::Unknown);
        }
        let mut known = self.saved.store.ids();
        match (known.next(), known.next(), self.current.len()) {
            (None, ..) => Err(PushError::Unknown),
            (Some(only), None, _) => Ok(only.clone()),
            (Some(_), Some(_), 1) => Ok(self.current.keys().next().expect("there is one").clone()),
            _ => Err(PushError::Ambiguous),
        }
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

/// The platform an outbound frame goes to, with what that platform can do.
///
/// A gateway that said hello as `relay` fronts whatever its events came from.
fn identity(link: &Link, platform: Option<&str>, bot_id: Option<&str>) -> Result<(String, Shape), String> {
    let Some((default, _)) = link.identities.first() else {
        return Err("say hello first".to_owned());
    };
    let Some(platform) = platform.filter(|platform| !platform.is_empty()) else {
        return Ok((default.clone(), Shape::of(default)));
    };
    let fronted = |(known, bot): &&(String, String)| {
        known == platform && bot_id.is_none_or(|bot_id| bot_id.is_empty() || bot_id == bot)
    };
    if link.identities.iter().any(|identity| fronted(&identity)) {
        return Ok((platform.to_owned(), Shape::of(platform)));
    }
    if link.identities.iter().any(|(known, _)| known == "relay") {
        // It knows the plain descriptor only, so that is what it is held to.
        return Ok((platform.to_owned(), Shape::Plain));
    }
    Err(format!("this connection has said no hello for {platform} with that bot"))
}

fn refused(refuse: Refuse) -> Admission {
    match refuse.status {
        Some(status) => Admission::Status(status),
        None => Admission::Close {
            code: refuse.code.unwrap_or(UNAUTHORIZED_CODE),
            reason: refuse.reason.unwrap_or_else(|| Refusal::Unauthorized.reason().to_owned()),
        },
    }
}

fn close_refused(refusal: Refusal) -> Admission {
    Admission::Close { code: UNAUTHORIZED_CODE, reason: refusal.reason().to_owned() }
}

/// Whether a message says of itself that it may have been sent before.
fn is_marked_repeat(action: &Map<String, Value>) -> bool {
    let in_metadata = action.get("metadata").and_then(|metadata| metadata.get("repeat")).and_then(Value::as_bool);
    in_metadata == Some(true)
        || text(action, "content").is_some_and(|content| content.to_lowercase().contains("may be a repeat"))
}

/// The chat of a session key, whose text is `agent:<profile>:<platform>:<chat type>:<chat>…`.
fn chat_of(session_key: &str) -> &str {
    session_key.split(':').nth(4).unwrap_or_default()
}

fn event_id(frame: &Value) -> Option<&str> {
    frame.get("event")?.get("message_id")?.as_str()
}

fn line(frame: &Value) -> String {
    format!("{frame}\n")
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plan with one gateway, `gw`.
    fn plan() -> Plan {
        let mut plan = Plan::new(Saved::default(), false);
        plan.register(Some("gw".to_owned()), 0).unwrap();
        plan
    }

    fn connect(plan: &mut Plan, connection: u64) -> Vec<Step> {
        plan.opened(connection, "gw", 0);
        plan.received(connection, r#"{"type":"hello","platform":"discord","botId":"b"}"#, 0)
    }

    fn push(plan: &mut Plan, message_id: &str, now_ms: i64) -> (Pushed, Vec<Step>) {
        let event = json!({"message_id": message_id, "source": {"chat_id": "c"}});
        plan.push(None, Push::Event { event, buffer_id: Some(message_id.to_owned()), live: false }, now_ms).unwrap()
    }

    fn acknowledge(plan: &mut Plan, connection: u64, buffer_id: &str) -> Vec<Step> {
        plan.received(connection, &json!({"type": "inbound_ack", "bufferId": buffer_id}).to_string(), 0)
    }

    /// Buffer ids of what is written to a connection, in order.
    fn written(steps: &[Step], to: u64) -> Vec<String> {
        let line = |step: &Step| match step {
            Step::Write { connection, text, .. } if *connection == to => Some(text.clone()),
            _ => None,
        };
        let frame =
            |text: String| serde_json::from_str::<Value>(&text).unwrap()["bufferId"].as_str().map(str::to_owned);
        steps.iter().filter_map(line).filter_map(frame).collect()
    }

    #[test]
    fn an_entry_leaves_only_with_its_acknowledgement() {
        let mut plan = plan();
        push(&mut plan, "a", 0);
        push(&mut plan, "b", 0);
        assert_eq!(written(&connect(&mut plan, 1), 1), ["a", "b"]);
        assert!(written(&acknowledge(&mut plan, 1, "a"), 1).is_empty(), "b is on its way already");
        acknowledge(&mut plan, 1, "unknown");
        plan.closed(1, "gw", 0);
        assert_eq!(written(&connect(&mut plan, 2), 2), ["b"]);
        acknowledge(&mut plan, 2, "b");
        assert!(written(&connect(&mut plan, 3), 3).is_empty());
    }

    #[test]
    fn a_gateway_that_does_not_acknowledge_gets_a_window_and_no_more() {
        let mut plan = plan();
        connect(&mut plan, 1);
        for number in 0..WINDOW {
            assert_eq!(push(&mut plan, &number.to_string(), 0).0.delivered, 1);
        }
        assert_eq!(push(&mut plan, "next", 0).0.delivered, 0);
        assert_eq!(written(&acknowledge(&mut plan, 1, "0"), 1), ["next"]);
    }

    #[test]
    fn a_full_buffer_takes_nothing_more() {
        let mut plan = plan();
        for number in 0..BUFFER_LIMIT {
            push(&mut plan, &number.to_string(), 0);
        }
        let push = Push::Event { event: json!({}), buffer_id: None, live: false };
        assert_eq!(plan.push(None, push, 0).unwrap_err(), PushError::Full);
    }

    #[test]
    fn a_superseded_connection_is_heard_no_more() {
        let mut plan = plan();
        connect(&mut plan, 1);
        push(&mut plan, "a", 0);
        let steps = plan.opened(2, "gw", 0);
        let close = Step::Close { connection: 1, code: SUPERSEDED_CODE, reason: "superseded".to_owned() };
        assert!(steps.contains(&close));
        assert!(acknowledge(&mut plan, 1, "a").is_empty());
        plan.closed(1, "gw", 0);
        let hello = plan.received(2, r#"{"type":"hello","platform":"discord"}"#, 0);
        assert_eq!(written(&hello, 2), ["a"], "its end does not end the newer one");
    }

    #[test]
    fn a_gateway_that_is_away_is_woken_once_a_minute() {
        let mut plan = plan();
        let access = plan.register(Some("gw".to_owned()), 0).unwrap().access_token;
        let asked = json!({"gatewayId": "gw", "platform": "discord", "wakeUrl": "http://wake"});
        plan.provision(Some(&access), serde_json::from_value(asked).unwrap(), 0).unwrap();
        let wakes = |steps: &[Step]| steps.contains(&Step::Wake { url: "http://wake".to_owned() });
        assert!(wakes(&push(&mut plan, "a", 1_000).1));
        assert!(!wakes(&push(&mut plan, "b", 60_999).1));
        assert!(wakes(&push(&mut plan, "c", 61_000).1));
        connect(&mut plan, 1);
        assert!(!wakes(&push(&mut plan, "d", 999_999).1), "it is awake");
    }

    #[test]
    fn ids_never_come_twice() {
        let mut ids = Ids::default();
        let first = ids.next(5);
        assert_ne!(first, ids.next(5));
        assert_ne!(first, ids.next(4), "the clock may step back");
    }

    #[test]
    fn an_unnamed_gateway_must_be_the_only_one_meant() {
        let mut plan = plan();
        plan.register(Some("other".to_owned()), 0).unwrap();
        let interrupt = || Push::Interrupt { session_key: "s".to_owned(), chat_id: String::new() };
        assert_eq!(plan.push(None, interrupt(), 0).unwrap_err(), PushError::Ambiguous);
        assert_eq!(plan.push(Some("nobody"), interrupt(), 0).unwrap_err(), PushError::Unknown);
        connect(&mut plan, 1);
        assert_eq!(plan.push(None, interrupt(), 0).unwrap().0.delivered, 1, "one is connected");
        assert_eq!(Plan::default().push(None, interrupt(), 0).unwrap_err(), PushError::Unknown);
    }
}
