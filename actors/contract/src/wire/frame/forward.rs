//! Requests of platforms, such as interactions, that the connector forwards to the gateway.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::Value;

use super::error::FrameError;
use crate::json::RawJson;
use crate::wire::fields::{FieldError, Fields};

/// A forwarded request and its acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct PassthroughForward {
    /// The request as received; see [`PassthroughForward::read`].
    pub forward: RawJson,
    /// Acknowledged once the event made from it is on disk.
    #[serde(rename = "bufferId", skip_serializing_if = "Option::is_none")]
    pub buffer_id: Option<String>,
}

/// A request from a platform that the connector has answered already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The platform that sent it.
    pub platform: String,
    /// The identity it was sent to.
    pub bot_id: String,
    /// The HTTP method.
    pub method: String,
    /// The path.
    pub path: String,
    /// Names and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub body: Vec<u8>,
    /// The profile it was routed to, unchecked.
    pub profile: Option<String>,
}

impl PassthroughForward {
    /// A frame with this request, unchecked.
    #[must_use]
    pub fn new(forward: &Value, buffer_id: Option<String>) -> Self {
        Self { forward: RawJson::of(forward), buffer_id }
    }

    /// The request.
    ///
    /// # Errors
    /// [`FrameError`] if it is not a request.
    pub fn read(&self) -> Result<Forward, FrameError> {
        let error = |_| FrameError::Field { frame: "passthrough_forward", error: FieldError::WrongType("forward") };
        Forward::parse(&serde_json::from_str(self.forward.get()).map_err(error)?)
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

/// A pair of strings. A header of another shape is skipped: the body matters.
fn header(pair: &Value) -> Option<(String, String)> {
    let [name, value] = pair.as_array()?.as_slice() else { return None };
    Some((name.as_str()?.to_owned(), value.as_str()?.to_owned()))
}
