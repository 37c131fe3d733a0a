//! The content of the data file.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};

use caduceus_contract::wire::frame::FromConnector;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::store::GatewayStore;

/// Frames that wait for one gateway.
pub(super) const BUFFER_LIMIT: usize = 10_000;

/// The content of the data file.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedState {
    pub(super) store: GatewayStore,
    pub(super) buffers: BTreeMap<String, VecDeque<BufferedFrame>>,
}

/// A frame that waits for its acknowledgement.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct BufferedFrame {
    pub(super) buffer_id: String,
    #[serde(deserialize_with = "frame")]
    pub(super) frame: FromConnector,
    /// The connection it was last written to; `None` after a restart.
    #[serde(skip)]
    pub(super) sent_on: Option<u64>,
}

impl BufferedFrame {
    /// The values that are compared. A frame holds the raw text of an event, so its line is compared.
    fn identity(&self) -> (&str, String, Option<u64>) {
        (&self.buffer_id, self.frame.to_line(), self.sent_on)
    }
}

impl PartialEq for BufferedFrame {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for BufferedFrame {}

impl Hash for BufferedFrame {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// A frame as written to a gateway, in any layout of JSON.
fn frame<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FromConnector, D::Error> {
    let frame = Value::deserialize(deserializer)?.to_string();
    let frame = FromConnector::parse(frame.as_bytes()).map_err(D::Error::custom)?;
    frame.ok_or_else(|| D::Error::custom("a buffered frame has an unknown type"))
}
