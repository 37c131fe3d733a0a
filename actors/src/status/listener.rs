//! The receivers outside the tree of every new status.

use std::fmt;
use std::sync::Arc;

use caduceus_contract::status::snapshot::Snapshot;

/// Receives every snapshot, on the arbiter of the status: it must only store it, and never block or panic.
#[derive(Clone)]
pub struct SnapshotListener(Arc<dyn Fn(&Snapshot) + Send + Sync>);

impl SnapshotListener {
    /// Calls `receive`.
    pub fn new(receive: impl Fn(&Snapshot) + Send + Sync + 'static) -> Self {
        Self(Arc::new(receive))
    }

    pub(super) fn tell(&self, snapshot: &Snapshot) {
        (self.0)(snapshot);
    }
}

impl Default for SnapshotListener {
    /// Without a receiver.
    fn default() -> Self {
        Self::new(|_| ())
    }
}

impl fmt::Debug for SnapshotListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}
