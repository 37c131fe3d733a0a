//! The children of one supervisor, which survive its restarts.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::locked::locked;
use crate::restart::Restart;
use crate::spec::{ChildSpec, SupervisorSpec};

/// The current children of one supervisor. Outlives its incarnations, so that the next one starts the added children and does not
/// start the removed ones.
#[derive(Clone)]
pub(crate) struct Children(Arc<Mutex<SupervisorSpec>>);

impl Children {
    pub(crate) fn new(spec: SupervisorSpec) -> Self {
        Self(Arc::new(Mutex::new(spec)))
    }

    pub(crate) fn spec(&self) -> SupervisorSpec {
        self.locked().clone()
    }

    /// Adds a child, unless it is temporary: those are not started again.
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
