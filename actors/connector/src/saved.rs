//! What the data file holds.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::store::GatewayStore;

/// Frames that wait for one gateway.
pub(super) const BUFFER_LIMIT: usize = 10_000;

/// What the data file holds.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedState {
    pub(super) store: GatewayStore,
    pub(super) buffers: BTreeMap<String, VecDeque<BufferedFrame>>,
}

/// A frame that waits for its acknowledgement.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct BufferedFrame {
    pub(super) buffer_id: String,
    pub(super) frame: Value,
    /// The connection it was last written to; none of these is left after a restart.
    #[serde(skip)]
    pub(super) sent_on: Option<u64>,
}
