//! The decisions of the connector: admission of dials, writes, buffering. No actix, no I/O, no clock.
//!
//! [`Hub`](super::hub::Hub) owns one and carries out its [`ConnectorStep`]s in order. A restart loses the rooms and the
//! counts; credentials and waiting frames are in the data file, if there is one.

mod buffer; // The frames that wait for a gateway.
mod manage; // Gateways and their credentials.
mod push; // Pushes to a gateway.
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use caduceus_contract::wire::action::Action;
use caduceus_contract::wire::action_result::ActionResult;
use caduceus_contract::wire::frame::{FrameError, FromConnector, ReceivedRequest, ToConnector};
use caduceus_contract::wire::session::chat_of;
use caduceus_contract::wire::token::UNAUTHORIZED_CODE;
use serde_json::Value;

use super::capabilities::Capabilities;
use super::credentials::DialRefusal;
use super::faults::{DialFault, Faults};
use super::ids::MessageIds;
use super::inbound::PushError;
use super::rooms::{OutboundAction, Rooms};
use super::saved::SavedState;
use super::steps::{ConnectorStep, DialDecision};
use super::traffic::{AnswerRecord, TrafficCounts};

/// The close code of a connection whose gateway has dialled again.
const SUPERSEDED_CODE: u16 = 4_000;
/// Timeout of a frame held for reordering.
pub(super) const REORDER_TIMEOUT: Duration = Duration::from_millis(250);

/// The whole state of the connector.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct ConnectorPlan {
    saved: SavedState,
    /// Whether a gateway may dial without a token.
    open: bool,
    links: BTreeMap<u64, GatewayLink>,
    /// The one connection of each gateway.
    current: BTreeMap<String, u64>,
    faults: BTreeMap<Option<String>, Faults>,
    traffic: TrafficCounts,
    rooms: Rooms,
    ids: MessageIds,
    last_connection: u64,
    last_wakes: BTreeMap<String, i64>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct GatewayLink {
    gateway_id: String,
    /// `(platform, botId)` of each hello; the first is the default.
    identities: Vec<(String, String)>,
    idle: bool,
    /// Held until the next frame, with which it is swapped.
    held: Option<String>,
}

impl ConnectorPlan {
    pub(super) fn new(saved: SavedState, open: bool) -> Self {
        Self { saved, open, ..Self::default() }
    }

    pub(super) fn saved(&self) -> &SavedState {
        &self.saved
    }

    /// Decides on a dial. An accepted one becomes a connection with [`ConnectorPlan::opened`].
    pub(super) fn admit(&mut self, token: Option<&str>, now_ms: i64) -> DialDecision {
        let gateway_id = match self.saved.store.admit(token, self.open, now_ms / 1_000) {
            Ok(gateway_id) => gateway_id,
            Err(refusal) => return close_refused(refusal),
        };
        let faults = if self.faults.contains_key(&Some(gateway_id.clone())) { Some(gateway_id.clone()) } else { None };
        if let Some(fault) = self.faults.get_mut(&faults).and_then(Faults::take_refusal) {
            self.traffic.refused(&gateway_id);
            return dial_fault(fault);
        }
        self.last_connection += 1;
        DialDecision::Accept { connection: self.last_connection, gateway_id }
    }

    /// An accepted connection is up. The gateway's older one is closed.
    pub(super) fn opened(&mut self, connection: u64, gateway_id: &str, now_ms: i64) -> Vec<ConnectorStep> {
        let mut steps = vec![ConnectorStep::Status];
        if let Some(older) = self.current.insert(gateway_id.to_owned(), connection) {
            self.links.remove(&older);
            steps.push(ConnectorStep::Close { connection: older, code: SUPERSEDED_CODE, reason: "superseded".into() });
        }
        let link = GatewayLink { gateway_id: gateway_id.to_owned(), identities: Vec::new(), idle: false, held: None };
        self.links.insert(connection, link);
        self.traffic.opened(gateway_id, now_ms);
        if self.faults_of(gateway_id).half_open {
            steps.push(ConnectorStep::Freeze { connection });
        }
        steps
    }

    /// A connection has ended, from either side.
    pub(super) fn closed(&mut self, connection: u64, gateway_id: &str, now_ms: i64) -> Vec<ConnectorStep> {
        self.traffic.closed(gateway_id, now_ms);
        self.links.remove(&connection);
        if self.current.get(gateway_id) == Some(&connection) {
            self.current.remove(gateway_id);
        }
        vec![ConnectorStep::Status]
    }

    /// Processes one line of a gateway. A line that is not a frame of the contract is counted and skipped.
    pub(super) fn received(&mut self, connection: u64, text: &str, now_ms: i64) -> Vec<ConnectorStep> {
        let Some(link) = self.links.get(&connection) else {
            return Vec::new();
        };
        let gateway_id = link.gateway_id.clone();
        let Ok(frame @ Value::Object(_)) = serde_json::from_str::<Value>(text) else {
            self.traffic.malformed();
            return Vec::new();
        };
        self.traffic.frame(&gateway_id, frame["type"].as_str().unwrap_or_default());
        let mut steps = vec![ConnectorStep::Frame { gateway_id: gateway_id.clone(), frame }];
        let ReceivedRequest { frame, request_id } = ToConnector::read(text.as_bytes());
        let more = match (frame, request_id) {
            (Ok(Some(ToConnector::Hello { platform, bot_id })), _) => self.hello(connection, platform, bot_id),
            (Ok(Some(ToConnector::Outbound { action, platform, bot_id, .. })), Some(request_id)) => {
                let identity = (platform.as_deref(), bot_id.as_deref());
                self.outbound(connection, request_id, &action, identity, now_ms)
            }
            // The gateway waits for an answer to this request, too.
            (Err(FrameError::Action(error)), Some(request_id)) => {
                Some(self.answer(connection, request_id, ActionResult::failed(error.to_string())))
            }
            (Ok(Some(ToConnector::InboundAck { buffer_id })), _) => {
                Some(self.acknowledged(connection, &gateway_id, &buffer_id))
            }
            (Ok(Some(ToConnector::GoingIdle)), _) => Some(self.going_idle(connection)),
            (Ok(Some(ToConnector::Interrupt { session_key, .. })), _) => self.interrupt(connection, session_key),
            (Ok(Some(ToConnector::Outbound { .. })), None) | (Err(_), _) => None,
            // Frames that this connector does not support, and those of a later contract.
            (Ok(_), _) => Some(Vec::new()),
        };
        match more {
            Some(more) => steps.extend(more),
            None => self.traffic.malformed(),
        }
        steps
    }

    /// Sets the persistent switches and carries out the one-time faults.
    pub(super) fn set_faults(&mut self, faults: Faults) -> Result<(Faults, Vec<ConnectorStep>), PushError> {
        if let Some(gateway_id) = &faults.gateway_id
            && self.saved.store.get(gateway_id).is_none()
        {
            return Err(PushError::Unknown);
        }
        let targets: Vec<u64> = self
            .current
            .iter()
            .filter(|(gateway_id, _)| faults.gateway_id.as_ref().is_none_or(|named| named == *gateway_id))
            .map(|(_, connection)| *connection)
            .collect();
        let mut steps = Vec::new();
        for connection in targets {
            if let Some(close) = &faults.close {
                steps.push(ConnectorStep::Close { connection, code: close.code, reason: close.reason.clone() });
            } else if faults.drop {
                steps.push(ConnectorStep::Cut { connection });
            } else if faults.half_open {
                steps.push(ConnectorStep::Freeze { connection });
            }
        }
        self.faults.insert(faults.gateway_id.clone(), faults.clone());
        Ok((faults, steps))
    }

    /// The initial state of a chat window.
    pub(super) fn chat_snapshot(&self) -> Value {
        self.rooms.snapshot()
    }

    /// Every connection that is up.
    pub(super) fn connections(&self) -> Vec<u64> {
        self.current.values().copied().collect()
    }

    fn hello(&mut self, connection: u64, platform: String, bot_id: String) -> Option<Vec<ConnectorStep>> {
        let link = self.links.get_mut(&connection).filter(|_| !platform.is_empty())?;
        link.idle = false;
        let descriptor = Box::new(Capabilities::of(&platform).descriptor(&platform));
        // A peer that repeats its hello is answered each time and takes no further memory.
        if link.identities.len() < 64
            && !link.identities.iter().any(|known| *known == (platform.clone(), bot_id.clone()))
        {
            link.identities.push((platform, bot_id));
        }
        let mut steps = vec![self.write(connection, FromConnector::Descriptor { descriptor }.to_line())];
        steps.extend(self.flush(connection));
        steps.push(ConnectorStep::Status);
        Some(steps)
    }

    fn outbound(
        &mut self,
        connection: u64,
        request_id: String,
        action: &Action,
        (platform, bot_id): (Option<&str>, Option<&str>),
        now_ms: i64,
    ) -> Option<Vec<ConnectorStep>> {
        let link = self.links.get(&connection)?;
        let gateway_id = link.gateway_id.clone();
        let mut steps = Vec::new();
        let result = match identity(link, platform, bot_id) {
            Err(error) => ActionResult::failed(error),
            Ok((platform, capabilities)) => {
                let outbound = OutboundAction { gateway_id: &gateway_id, platform: &platform, capabilities, action };
                let outcome = self.rooms.carry_out(&outbound, &mut self.ids, now_ms);
                if let Some(message_id) = &outcome.message_id {
                    let answer = AnswerRecord {
                        gateway_id: &gateway_id,
                        event_id: outcome.answers.as_deref(),
                        operation: action.op(),
                        message_id,
                        repeat: is_marked_repeat(action),
                    };
                    self.traffic.answered(&answer, now_ms);
                }
                steps.extend(outcome.event.map(ConnectorStep::Chat));
                outcome.result
            }
        };
        steps.extend(self.answer(connection, request_id, result));
        Some(steps)
    }

    /// Writes a result; delayed or dropped if the fault switches are set.
    fn answer(&self, connection: u64, request_id: String, result: ActionResult) -> Vec<ConnectorStep> {
        let faults = self.links.get(&connection).map(|link| self.faults_of(&link.gateway_id)).unwrap_or_default();
        if faults.answer_never {
            return Vec::new();
        }
        let text = FromConnector::OutboundResult { request_id, result }.to_line();
        let after = Duration::from_millis(faults.delay_ms.saturating_add(faults.answer_late_ms));
        vec![ConnectorStep::Write { connection, text, after }]
    }

    fn going_idle(&mut self, connection: u64) -> Vec<ConnectorStep> {
        if let Some(link) = self.links.get_mut(&connection) {
            link.idle = true;
        }
        vec![self.write(connection, FromConnector::GoingIdleAck.to_line()), ConnectorStep::Status]
    }

    /// A gateway interrupts a session: forwarded to the instance that runs it, which is always the same one here.
    fn interrupt(&self, connection: u64, session_key: String) -> Option<Vec<ConnectorStep>> {
        if session_key.is_empty() {
            return None;
        }
        let chat_id = chat_of(&session_key).to_owned();
        Some(vec![self.write(connection, FromConnector::InterruptInbound { session_key, chat_id }.to_line())])
    }

    fn write(&self, connection: u64, text: String) -> ConnectorStep {
        let delay = self.links.get(&connection).map_or(0, |link| self.faults_of(&link.gateway_id).delay_ms);
        ConnectorStep::Write { connection, text, after: Duration::from_millis(delay) }
    }

    fn faults_of(&self, gateway_id: &str) -> Faults {
        let own = self.faults.get(&Some(gateway_id.to_owned()));
        own.or_else(|| self.faults.get(&None)).cloned().unwrap_or_default()
    }

    /// The connection on which a gateway receives: its hello was received and it is not idle.
    fn ready_connection(&self, gateway_id: &str) -> Option<u64> {
        let connection = *self.current.get(gateway_id)?;
        let link = self.links.get(&connection)?;
        (!link.identities.is_empty() && !link.idle).then_some(connection)
    }

    /// The named gateway; without a name, the only one that is registered or connected.
    fn resolve_gateway(&self, gateway_id: Option<&str>) -> Result<String, PushError> {
        if let Some(gateway_id) = gateway_id {
            return self.saved.store.get(gateway_id).map(|_| gateway_id.to_owned()).ok_or(PushError::Unknown);
        }
        let mut registered = self.saved.store.ids();
        match (registered.next(), registered.next(), self.current.len()) {
            (None, ..) => Err(PushError::Unknown),
            (Some(only), None, _) => Ok(only.clone()),
            (Some(_), Some(_), 1) => Ok(self.current.keys().next().expect("there is one").clone()),
            _ => Err(PushError::Ambiguous),
        }
    }
}

/// The platform of an outbound frame, with its capabilities.
///
/// A gateway with a hello for `relay` serves every platform.
fn identity(
    link: &GatewayLink,
    platform: Option<&str>,
    bot_id: Option<&str>,
) -> Result<(String, Capabilities), String> {
    let Some((default, _)) = link.identities.first() else {
        return Err("hello required first".to_owned());
    };
    let Some(platform) = platform.filter(|platform| !platform.is_empty()) else {
        return Ok((default.clone(), Capabilities::of(default)));
    };
    let matches = |(known, bot): &&(String, String)| {
        known == platform && bot_id.is_none_or(|bot_id| bot_id.is_empty() || bot_id == bot)
    };
    if link.identities.iter().any(|identity| matches(&identity)) {
        return Ok((platform.to_owned(), Capabilities::of(platform)));
    }
    if link.identities.iter().any(|(known, _)| known == "relay") {
        // The gateway received the plain descriptor only, so its limits apply.
        return Ok((platform.to_owned(), Capabilities::Plain));
    }
    Err(format!("no hello received for {platform} with that bot"))
}

fn dial_fault(fault: DialFault) -> DialDecision {
    match fault.status {
        Some(status) => DialDecision::Status(status),
        None => DialDecision::Close {
            code: fault.code.unwrap_or(UNAUTHORIZED_CODE),
            reason: fault.reason.unwrap_or_else(|| DialRefusal::Unauthorized.reason().to_owned()),
        },
    }
}

fn close_refused(refusal: DialRefusal) -> DialDecision {
    DialDecision::Close { code: UNAUTHORIZED_CODE, reason: refusal.reason().to_owned() }
}

/// Whether a message is marked as possibly sent before.
fn is_marked_repeat(action: &Action) -> bool {
    let in_metadata = action.metadata().and_then(|metadata| metadata.get("repeat")).and_then(Value::as_bool);
    in_metadata == Some(true)
        || action.content().is_some_and(|content| content.to_lowercase().contains("may be a repeat"))
}
