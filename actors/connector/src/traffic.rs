//! Counts of the frames sent and received by the connector. Plain data; answers `GET /dev/account`.
//!
//! Tests compare them with the agent's own counts, so no count comes from a gateway's report.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};

/// Limit of events; the oldest are removed first.
const EVENT_LIMIT: usize = 100_000;
/// Limit of recorded openings and closings per gateway.
const SOCKET_LIMIT: usize = 10_000;
/// Limit of answers recorded in full per event; all are counted.
const ANSWER_LIMIT: usize = 16;

/// Counts of everything sent and received.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct TrafficCounts {
    gateways: BTreeMap<String, GatewayTraffic>,
    /// By gateway and message id of the event.
    events: BTreeMap<(String, String), EventTraffic>,
    order: VecDeque<(String, String)>,
    /// Messages sent that do not name the event they answer.
    unattributed: u64,
    /// Lines that are not a frame of the contract.
    malformed: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Default)]
struct GatewayTraffic {
    open: u64,
    /// Maximum of sockets open at one time; more than one is a duplicate link.
    most_open: u64,
    dials: u64,
    refused: u64,
    sockets: VecDeque<(i64, u64)>,
    frames: BTreeMap<String, u64>,
}

#[derive(Clone, PartialEq, Eq, Hash, Default)]
struct EventTraffic {
    pushed: u64,
    sent: u64,
    acked: u64,
    answered: u64,
    repeats: u64,
    answers: Vec<Value>,
}

/// One message sent to a chat.
pub(super) struct AnswerRecord<'a> {
    pub(super) gateway_id: &'a str,
    /// Message id of the event it answers.
    pub(super) event_id: Option<&'a str>,
    pub(super) operation: &'a str,
    pub(super) message_id: &'a str,
    /// Whether the gateway marked it as possibly sent before.
    pub(super) repeat: bool,
}

impl TrafficCounts {
    pub(super) fn refused(&mut self, gateway_id: &str) {
        self.gateway(gateway_id).refused += 1;
    }

    pub(super) fn opened(&mut self, gateway_id: &str, now_ms: i64) {
        let gateway = self.gateway(gateway_id);
        gateway.dials += 1;
        gateway.open += 1;
        gateway.most_open = gateway.most_open.max(gateway.open);
        gateway.record(now_ms);
    }

    pub(super) fn closed(&mut self, gateway_id: &str, now_ms: i64) {
        let gateway = self.gateway(gateway_id);
        gateway.open = gateway.open.saturating_sub(1);
        gateway.record(now_ms);
    }

    pub(super) fn frame(&mut self, gateway_id: &str, kind: &str) {
        let frames = &mut self.gateway(gateway_id).frames;
        // A hostile peer may send any number of names; the contract has fewer than 32.
        let kind = if frames.contains_key(kind) || frames.len() < 32 { kind } else { "other" };
        *frames.entry(kind.to_owned()).or_default() += 1;
    }

    pub(super) fn malformed(&mut self) {
        self.malformed += 1;
    }

    pub(super) fn pushed(&mut self, gateway_id: &str, event_id: &str) {
        self.event(gateway_id, event_id).pushed += 1;
    }

    pub(super) fn sent(&mut self, gateway_id: &str, event_id: &str) {
        self.event(gateway_id, event_id).sent += 1;
    }

    pub(super) fn acked(&mut self, gateway_id: &str, event_id: &str) {
        self.event(gateway_id, event_id).acked += 1;
    }

    pub(super) fn answered(&mut self, answer: &AnswerRecord<'_>, now_ms: i64) {
        let Some(event_id) = answer.event_id else {
            self.unattributed += 1;
            return;
        };
        let event = self.event(answer.gateway_id, event_id);
        event.answered += 1;
        event.repeats += u64::from(answer.repeat);
        if event.answers.len() < ANSWER_LIMIT {
            event.answers.push(json!({
                "messageId": answer.message_id, "op": answer.operation, "repeat": answer.repeat, "atMs": now_ms,
            }));
        }
    }

    /// `events` by message id (of the last gateway, if two share one), and `gateways`.
    pub(super) fn snapshot(&self) -> Value {
        let mut events = Map::new();
        for ((gateway_id, event_id), event) in &self.events {
            let entry = json!({
                "gatewayId": gateway_id, "pushed": event.pushed, "sent": event.sent, "acked": event.acked,
                "answered": event.answered, "repeats": event.repeats, "answers": event.answers,
            });
            events.insert(event_id.clone(), entry);
        }
        let gateways: Map<String, Value> = self
            .gateways
            .iter()
            .map(|(id, gateway)| {
                let sockets: Vec<Value> =
                    gateway.sockets.iter().map(|(at, open)| json!({"atMs": at, "open": open})).collect();
                let entry = json!({
                    "open": gateway.open, "mostOpen": gateway.most_open, "dials": gateway.dials,
                    "refused": gateway.refused, "frames": gateway.frames, "sockets": sockets,
                });
                (id.clone(), entry)
            })
            .collect();
        json!({
            "events": events, "gateways": gateways, "unattributed": self.unattributed, "malformed": self.malformed,
        })
    }

    fn gateway(&mut self, gateway_id: &str) -> &mut GatewayTraffic {
        self.gateways.entry(gateway_id.to_owned()).or_default()
    }

    fn event(&mut self, gateway_id: &str, event_id: &str) -> &mut EventTraffic {
        let key = (gateway_id.to_owned(), event_id.to_owned());
        if !self.events.contains_key(&key) {
            self.order.push_back(key.clone());
            if self.order.len() > EVENT_LIMIT
                && let Some(oldest) = self.order.pop_front()
            {
                self.events.remove(&oldest);
            }
        }
        self.events.entry(key).or_default()
    }
}

impl GatewayTraffic {
    fn record(&mut self, now_ms: i64) {
        if self.sockets.len() == SOCKET_LIMIT {
            self.sockets.pop_front();
        }
        self.sockets.push_back((now_ms, self.open));
    }
}
