//! The frames of the link, one JSON object a line, in both directions and from both ends.
//!
//! The gateway reads [`FromConnector`] and writes [`ToConnector`]; the development connector does the reverse.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::action::{Action, ActionError, ActionResult};
use super::descriptor::{Descriptor, DescriptorError};
use super::event::{EventError, InboundEvent};
use super::fields::{FieldError, Fields};
use super::scan::{self, MAX_BUFFER_ID};

/// Longest descriptor, in bytes. It is kept, shown and handed to every turn; real ones are below 2 KiB.
const MAX_DESCRIPTOR: usize = 64 * 1024;
/// Longest session key of an interrupt, in bytes: many of them wait at a time.
const MAX_SESSION_KEY: usize = 4 * 1024;

/// The fields that frames have, in both directions. Others are not looked at, however many there are.
const FIELDS: [&str; 13] = [
    "type",
    "descriptor",
    "event",
    "bufferId",
    "requestId",
    "result",
    "session_key",
    "chat_id",
    "forward",
    "platform",
    "botId",
    "action",
    "reason",
];

/// The types of frames, in both directions.
pub const KINDS: &[&str] = &[
    "hello",
    "descriptor",
    "inbound",
    "inbound_ack",
    "outbound",
    "outbound_result",
    "interrupt",
    "interrupt_inbound",
    "passthrough_forward",
    "going_idle",
    "going_idle_ack",
];

/// A frame from the connector to the gateway.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromConnector {
    /// What one identity can do.
    Descriptor {
        /// The capabilities.
        descriptor: Box<Descriptor>,
    },
    /// A message for the agent.
    Inbound(Box<Inbound>),
    /// The answer to one outbound frame.
    OutboundResult {
        /// The one it answers.
        #[serde(rename = "requestId")]
        request_id: String,
        /// The answer.
        result: ActionResult,
    },
    /// Asks to stop what runs in a session.
    InterruptInbound {
        /// The session, as text.
        session_key: String,
        /// Its chat; may be empty.
        chat_id: String,
    },
    /// From now on everything is buffered.
    GoingIdleAck,
    /// A request that a platform made to the connector.
    PassthroughForward(Box<PassthroughForward>),
}

/// A message for the agent, parsed and as it came.
#[derive(Debug, Clone, Serialize)]
pub struct Inbound {
    /// The event as far as we know it.
    #[serde(skip)]
    pub event: InboundEvent,
    /// The event as it came, with what we do not know.
    #[serde(rename = "event")]
    pub raw: Box<RawValue>,
    /// To be acknowledged once the event is on disk.
    #[serde(rename = "bufferId", skip_serializing_if = "Option::is_none")]
    pub buffer_id: Option<String>,
}

/// A forwarded request and its acknowledgement.
#[derive(Debug, Clone, Serialize)]
pub struct PassthroughForward {
    /// The request.
    pub forward: Forward,
    /// To be acknowledged once the event made from it is on disk.
    #[serde(rename = "bufferId", skip_serializing_if = "Option::is_none")]
    pub buffer_id: Option<String>,
}

/// A request that a platform made to the connector, which has answered it already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Forward {
    /// The platform that made it.
    pub platform: String,
    /// The identity it was made to.
    #[serde(rename = "botId")]
    pub bot_id: String,
    /// The HTTP method.
    pub method: String,
    /// The path.
    pub path: String,
    /// Names and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte.
    #[serde(rename = "bodyB64", serialize_with = "as_base64")]
    pub body: Vec<u8>,
    /// The profile it was routed to, unchecked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// A frame from the gateway to the connector.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToConnector {
    /// Names one identity, right after the dial.
    Hello {
        /// The platform.
        platform: String,
        /// The bot on it; may be empty.
        #[serde(rename = "botId")]
        bot_id: String,
    },
    /// Asks for one action.
    Outbound {
        /// Comes back with the answer; fresh each time.
        #[serde(rename = "requestId")]
        request_id: String,
        /// What to do.
        action: Box<Action>,
        /// The platform, where several are fronted.
        #[serde(skip_serializing_if = "Option::is_none")]
        platform: Option<String>,
        /// The bot, where several are fronted.
        #[serde(rename = "botId", skip_serializing_if = "Option::is_none")]
        bot_id: Option<String>,
    },
    /// Says that a session was interrupted.
    Interrupt {
        /// The session, as text.
        session_key: String,
        /// Why.
        reason: Option<String>,
    },
    /// Asks to buffer everything from now on.
    GoingIdle,
    /// The buffered frame is on disk.
    InboundAck {
        /// The frame.
        #[serde(rename = "bufferId")]
        buffer_id: String,
    },
}

/// Why a line was skipped; the link lives on. Shows nothing of what the line said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It is no JSON, no object, or nested too deeply.
    #[error("the line is no JSON object")]
    NotAnObject,
    /// The event is no JSON that we can hold: half a character, or nested too deeply.
    #[error("the event cannot be read: it holds half a character, or is nested too deeply")]
    Unreadable,
    /// A field of the frame itself is missing or of the wrong kind.
    #[error("{frame} frame: {error}")]
    Field {
        /// The type of the frame.
        frame: &'static str,
        /// The field.
        error: FieldError,
    },
    /// The body of a forwarded request is no base64.
    #[error("the forwarded body is no base64")]
    Body,
    /// The descriptor in it was refused.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    /// The event in it was refused.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The action or the result in it was refused.
    #[error(transparent)]
    Action(#[from] ActionError),
}

/// A line from the connector, as far as it could be read.
#[derive(Debug)]
pub struct Received {
    /// The frame; `None` for a type of a later contract.
    pub frame: Result<Option<FromConnector>, FrameError>,
    /// What the connector wants to have back, whatever else the line says: as long as it does not come, the line comes again.
    pub buffer_id: Option<String>,
}

impl FromConnector {
    /// Reads a line from the connector.
    #[must_use]
    pub fn read(line: &[u8]) -> Received {
        match Line::of(line) {
            Ok((kind, fields)) => {
                let buffer_id = fields.buffer_id().ok().flatten();
                Received { frame: Self::of(&kind, fields), buffer_id }
            }
            Err(error) => Received { frame: Err(error), buffer_id: scan::buffer_id(line) },
        }
    }

    /// Reads a line from the connector; `None` for a type of a later contract.
    ///
    /// # Errors
    /// [`FrameError`]: count it, skip the line.
    pub fn parse(line: &[u8]) -> Result<Option<Self>, FrameError> {
        Self::read(line).frame
    }

    fn of(kind: &str, line: Line<'_>) -> Result<Option<Self>, FrameError> {
        Ok(Some(match kind {
            "descriptor" => {
                let line = line.of_type("descriptor");
                line.at_most("descriptor", MAX_DESCRIPTOR)?;
                Self::Descriptor { descriptor: Box::new(Descriptor::parse(&line.value("descriptor")?)?) }
            }
            "inbound" => {
                let line = line.of_type("inbound");
                let raw = line.raw("event").ok_or_else(|| line.error(FieldError::Missing("event")))?;
                Self::Inbound(Box::new(Inbound::new(raw.to_owned(), line.buffer_id()?)?))
            }
            "outbound_result" => {
                let line = line.of_type("outbound_result");
                let result = ActionResult::parse(&line.value("result")?)?;
                Self::OutboundResult { request_id: line.required("requestId")?, result }
            }
            "interrupt_inbound" => {
                let line = line.of_type("interrupt_inbound");
                line.at_most("session_key", MAX_SESSION_KEY)?;
                line.at_most("chat_id", MAX_SESSION_KEY)?;
                let chat_id = line.text("chat_id")?.unwrap_or_default();
                Self::InterruptInbound { session_key: line.required("session_key")?, chat_id }
            }
            "going_idle_ack" => Self::GoingIdleAck,
            "passthrough_forward" => {
                let line = line.of_type("passthrough_forward");
                let forward = Forward::parse(&line.value("forward")?)?;
                Self::PassthroughForward(Box::new(PassthroughForward { forward, buffer_id: line.buffer_id()? }))
            }
            _ => return Ok(None),
        }))
    }

    /// Its type, one of [`KINDS`].
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Descriptor { .. } => "descriptor",
            Self::Inbound(_) => "inbound",
            Self::OutboundResult { .. } => "outbound_result",
            Self::InterruptInbound { .. } => "interrupt_inbound",
            Self::GoingIdleAck => "going_idle_ack",
            Self::PassthroughForward(_) => "passthrough_forward",
        }
    }

    /// The frame as a line, its end included.
    #[must_use]
    pub fn to_line(&self) -> String {
        to_line(self)
    }
}

impl ToConnector {
    /// Reads a line from a gateway; `None` for a type of a later contract.
    ///
    /// # Errors
    /// [`FrameError`]: count it, skip the line.
    pub fn parse(line: &[u8]) -> Result<Option<Self>, FrameError> {
        let (kind, line) = Line::of(line)?;
        Ok(Some(match kind.as_str() {
            "hello" => {
                let line = line.of_type("hello");
                let bot_id = line.text("botId")?.unwrap_or_default();
                Self::Hello { platform: line.required("platform")?, bot_id }
            }
            "outbound" => {
                let line = line.of_type("outbound");
                let action = Box::new(Action::parse(&line.value("action")?)?);
                let (platform, bot_id) = (line.text("platform")?, line.text("botId")?);
                Self::Outbound { request_id: line.required("requestId")?, action, platform, bot_id }
            }
            "interrupt" => {
                let line = line.of_type("interrupt");
                Self::Interrupt { session_key: line.required("session_key")?, reason: line.text("reason")? }
            }
            "going_idle" => Self::GoingIdle,
            "inbound_ack" => Self::InboundAck { buffer_id: line.of_type("inbound_ack").required("bufferId")? },
            _ => return Ok(None),
        }))
    }

    /// The frame as a line, its end included.
    #[must_use]
    pub fn to_line(&self) -> String {
        to_line(self)
    }
}

impl Inbound {
    /// Parses `raw` and keeps it beside what was understood of it.
    ///
    /// # Errors
    /// [`FrameError`] if it is no event.
    pub fn new(raw: Box<RawValue>, buffer_id: Option<String>) -> Result<Self, FrameError> {
        let value: Value = serde_json::from_str(raw.get()).map_err(|_| FrameError::Unreadable)?;
        let buffer_id = buffer_id.filter(|id| !id.is_empty());
        Ok(Self { event: InboundEvent::parse(&value)?, raw, buffer_id })
    }
}

impl Forward {
    fn parse(value: &Value) -> Result<Self, FrameError> {
        let error = |error| FrameError::Field { frame: "passthrough_forward", error };
        let fields = Fields::of(value, "forward").map_err(error)?;
        let text = |name| fields.text(name).map(Option::unwrap_or_default).map_err(error);
        let body = text("bodyB64")?;
        Ok(Self {
            platform: text("platform")?,
            bot_id: text("botId")?,
            method: text("method")?,
            path: text("path")?,
            headers: fields.list("headers").map_err(error)?.iter().filter_map(header).collect(),
            body: BASE64_STANDARD.decode(body).map_err(|_| FrameError::Body)?,
            profile: fields.text("profile").map_err(error)?,
        })
    }
}

/// A pair of texts. A header of another shape is skipped: the body is what counts.
fn header(pair: &Value) -> Option<(String, String)> {
    let [name, value] = pair.as_array()?.as_slice() else { return None };
    Some((name.as_str()?.to_owned(), value.as_str()?.to_owned()))
}

/// The fields of a line, each as it came: what is deeper is read only where it is wanted.
struct Line<'a> {
    frame: &'static str,
    fields: BTreeMap<&'static str, &'a RawValue>,
}

/// The fields of a line that frames have. Of one that stands there twice the last counts.
struct Known<'a>(BTreeMap<&'static str, &'a RawValue>);

impl<'de> Deserialize<'de> for Known<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Known<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Known<'de>, M::Error> {
                let mut known = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    match FIELDS.iter().find(|field| **field == name) {
                        Some(field) => drop(known.insert(*field, map.next_value()?)),
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Known(known))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

impl<'a> Line<'a> {
    /// The type of a line, empty when there is none, and its fields.
    fn of(line: &'a [u8]) -> Result<(String, Self), FrameError> {
        let Known(fields) = serde_json::from_slice(line).map_err(|_| FrameError::NotAnObject)?;
        let line = Self { frame: "unknown", fields };
        Ok((line.text("type")?.unwrap_or_default(), line))
    }

    fn of_type(self, frame: &'static str) -> Self {
        Self { frame, ..self }
    }

    fn error(&self, error: FieldError) -> FrameError {
        FrameError::Field { frame: self.frame, error }
    }

    /// A field that is there and not null.
    fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.get(name).copied().filter(|raw| raw.get() != "null")
    }

    /// What the frame is acknowledged by; an empty one is none.
    fn buffer_id(&self) -> Result<Option<String>, FrameError> {
        let id = self.text("bufferId")?.filter(|id| !id.is_empty());
        match id {
            Some(id) if id.len() > MAX_BUFFER_ID => Err(self.error(FieldError::TooLong("bufferId"))),
            id => Ok(id),
        }
    }

    fn at_most(&self, name: &'static str, bytes: usize) -> Result<(), FrameError> {
        let long = self.raw(name).is_some_and(|raw| raw.get().len() > bytes);
        if long { Err(self.error(FieldError::TooLong(name))) } else { Ok(()) }
    }

    fn value(&self, name: &'static str) -> Result<Value, FrameError> {
        let raw = self.raw(name).ok_or_else(|| self.error(FieldError::Missing(name)))?;
        serde_json::from_str(raw.get()).map_err(|_| self.error(FieldError::WrongKind(name)))
    }

    fn text(&self, name: &'static str) -> Result<Option<String>, FrameError> {
        let read = |raw: &RawValue| serde_json::from_str(raw.get());
        self.raw(name).map(read).transpose().map_err(|_| self.error(FieldError::WrongKind(name)))
    }

    fn required(&self, name: &'static str) -> Result<String, FrameError> {
        self.text(name)?.ok_or_else(|| self.error(FieldError::Missing(name)))
    }
}

fn as_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

fn to_line(frame: &impl Serialize) -> String {
    let mut line = serde_json::to_string(frame).expect("a frame holds nothing without a JSON form");
    line.push('\n');
    line
}

#[cfg(test)]
mod tests;
