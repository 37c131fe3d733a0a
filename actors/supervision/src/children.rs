//! The children of one supervisor, kept over its own restarts.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::locked::locked;
use crate::restart::Restart;
use crate::spec::{ChildSpec, SupervisorSpec};

/// The children that one supervisor keeps at present. Outlives its incarnations, so that a child that was added or removed while
/// one ran is added or removed in the next as well.
#[derive(Clone)]
pub(crate) struct Children(Arc<Mutex<SupervisorSpec>>);

impl Children {
    pub(crate) fn new(spec: SupervisorSpec) -> Self {
        Self(Arc::new(Mutex::new(spec)))
    }

    pub(crate) fn spec(&self) -> SupervisorSpec {
        self.locked().clone()
    }

    /// A temporary child is not started a second time, so it is not kept.
    pub(crate) fn add(&self, child: &ChildSpec) {
        if child.restart != Restart::Temporary {
            self.locked().children.push(child.clone());
        }
    }

    pub(crate) fn remove(&self, id: &str) {
        self.locked().children.retain(|child| child.id != id);
    }

    fn locked(&self) -> MutexGuard<'_, SupervisorSpec> {
        locked(&self.0)
    }
}
