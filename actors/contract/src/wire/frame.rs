//! The frames of the link, one JSON object per line, in both directions and from both ends.
//!
//! The gateway reads [`FromConnector`] and writes [`ToConnector`]; the development connector does the reverse.

mod error; // Why a frame was refused.
mod forward; // Forwarded requests.
mod line; // The fields of a line.

use serde::Serialize;
use serde_json::Value;

use super::action::Action;
use super::action_result::ActionResult;
use super::descriptor::Descriptor;
use super::received_event::ReceivedEvent;
use super::scan;
use crate::json::RawJson;
use line::Line;

pub use error::FrameError;
pub use forward::{Forward, PassthroughForward};

/// Longest descriptor, in bytes. It is stored, shown and passed to every turn; real ones are below 2 KiB.
const MAX_DESCRIPTOR: usize = 64 * 1024;
/// Longest session key of an interrupt, in bytes: many of them wait at a time.
const MAX_SESSION_KEY: usize = 4 * 1024;

/// The fields of frames, in both directions. Others are ignored, however many there are.
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromConnector {
    /// The capabilities of one identity.
    Descriptor {
        /// The capabilities.
        descriptor: Box<Descriptor>,
    },
    /// A message for the agent.
    Inbound(Box<Inbound>),
    /// The answer to one outbound frame.
    OutboundResult {
        /// The id of the outbound frame.
        #[serde(rename = "requestId")]
        request_id: String,
        /// The answer.
        result: ActionResult,
    },
    /// Requests to stop the turn of a session.
    InterruptInbound {
        /// The session, as text.
        session_key: String,
        /// Its chat; may be empty.
        chat_id: String,
    },
    /// The connector buffers everything from now on.
    GoingIdleAck,
    /// A request that a platform made to the connector.
    PassthroughForward(Box<PassthroughForward>),
}

/// A message for the agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Inbound {
    /// The event as received, with unknown fields; see [`Inbound::read`].
    pub event: RawJson,
    /// Acknowledged once the event is on disk.
    #[serde(rename = "bufferId", skip_serializing_if = "Option::is_none")]
    pub buffer_id: Option<String>,
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
    /// Requests one action.
    Outbound {
        /// Returned with the answer; fresh each time.
        #[serde(rename = "requestId")]
        request_id: String,
        /// The action.
        action: Box<Action>,
        /// The platform, if the link has several.
        #[serde(skip_serializing_if = "Option::is_none")]
        platform: Option<String>,
        /// The bot, if the link has several.
        #[serde(rename = "botId", skip_serializing_if = "Option::is_none")]
        bot_id: Option<String>,
    },
    /// Reports that a session was interrupted.
    Interrupt {
        /// The session, as text.
        session_key: String,
        /// The reason.
        reason: Option<String>,
    },
    /// Requests to buffer everything from now on.
    GoingIdle,
    /// The buffered frame is on disk.
    InboundAck {
        /// The frame.
        #[serde(rename = "bufferId")]
        buffer_id: String,
    },
}

/// A line from the connector, as far as it could be read.
#[derive(Debug)]
pub struct ReceivedFrame {
    /// The frame; `None` for a type of a later contract.
    pub frame: Result<Option<FromConnector>, FrameError>,
    /// The id that acknowledges the line, whatever its other content: without it the line would be sent again.
    pub buffer_id: Option<String>,
}

/// A line from a gateway, as far as it could be read.
#[derive(Debug)]
pub struct ReceivedRequest {
    /// The frame; `None` for a type of a later contract.
    pub frame: Result<Option<ToConnector>, FrameError>,
    /// The request id under which the gateway waits for an answer, even if its action is unreadable.
    pub request_id: Option<String>,
}

impl FromConnector {
    /// Reads a line from the connector.
    #[must_use]
    pub fn read(line: &[u8]) -> ReceivedFrame {
        match Line::of(line, &FIELDS) {
            Ok((kind, fields)) => {
                let buffer_id = fields.buffer_id().ok().flatten();
                ReceivedFrame { frame: Self::of(&kind, fields), buffer_id }
            }
            Err(error) => ReceivedFrame { frame: Err(error), buffer_id: scan::buffer_id(line) },
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
                let event = line.required_raw("event")?.into();
                Self::Inbound(Box::new(Inbound { event, buffer_id: line.buffer_id()? }))
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
                let forward = line.required_raw("forward")?.into();
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
    /// Reads a line from a gateway.
    #[must_use]
    pub fn read(line: &[u8]) -> ReceivedRequest {
        match Line::of(line, &FIELDS) {
            Ok((kind, line)) => {
                let request_id =
                    line.text("requestId").ok().flatten().filter(|id| kind == "outbound" && !id.is_empty());
                ReceivedRequest { frame: Self::of(&kind, line), request_id }
            }
            Err(error) => ReceivedRequest { frame: Err(error), request_id: None },
        }
    }

    /// Reads a line from a gateway; `None` for a type of a later contract.
    ///
    /// # Errors
    /// [`FrameError`]: count it, skip the line.
    pub fn parse(line: &[u8]) -> Result<Option<Self>, FrameError> {
        Self::read(line).frame
    }

    fn of(kind: &str, line: Line<'_>) -> Result<Option<Self>, FrameError> {
        Ok(Some(match kind {
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

/// The line of a [`ToConnector::Outbound`], its end included, for an action that is JSON already: the ledger gets a reply before the link
/// does.
#[must_use]
pub fn outbound_line(request_id: &str, action: &RawJson, platform: Option<&str>, bot_id: Option<&str>) -> String {
    to_line(&WrittenOutbound { request_id, action, platform, bot_id })
}

/// As [`ToConnector::Outbound`].
#[derive(Serialize)]
#[serde(tag = "type", rename = "outbound")]
struct WrittenOutbound<'a> {
    #[serde(rename = "requestId")]
    request_id: &'a str,
    action: &'a RawJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    #[serde(rename = "botId", skip_serializing_if = "Option::is_none")]
    bot_id: Option<&'a str>,
}

impl Inbound {
    /// A frame with this event, unchecked.
    #[must_use]
    pub fn new(event: &Value, buffer_id: Option<String>) -> Self {
        Self { event: RawJson::of(event), buffer_id }
    }

    /// The event.
    ///
    /// # Errors
    /// [`FrameError`] if it is not an event.
    pub fn read(&self) -> Result<ReceivedEvent, FrameError> {
        Ok(ReceivedEvent::read(self.event.clone())?)
    }

    /// The message id of the event, if it has one.
    #[must_use]
    pub fn message_id(&self) -> Option<String> {
        let event: MessageId = serde_json::from_str(self.event.get()).ok()?;
        event.message_id?.as_str().map(str::to_owned)
    }
}

/// The field of an event by which a connector counts it.
#[derive(serde::Deserialize)]
struct MessageId {
    message_id: Option<Value>,
}

fn to_line(frame: &impl Serialize) -> String {
    let mut line = serde_json::to_string(frame).expect("a frame holds nothing without a JSON form");
    line.push('\n');
    line
}

#[cfg(test)]
mod tests;
