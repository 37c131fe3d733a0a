//! Whoever outside the tree hears of every new status.

use std::fmt;
use std::sync::Arc;

use caduceus_contract::status::snapshot::Snapshot;

/// Is told of every snapshot, on the arbiter of the status: it must only take note, and never block or panic.
#[derive(Clone)]
pub struct Listener(Arc<dyn Fn(&Snapshot) + Send + Sync>);

impl Listener {
    /// Tells `hear`.
    pub fn new(hear: impl Fn(&Snapshot) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    pub(super) fn tell(&self, snapshot: &Snapshot) {
        (self.0)(snapshot);
    }
}

impl Default for Listener {
    /// Nobody listens.
    fn default() -> Self {
        Self::new(|_| ())
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}
