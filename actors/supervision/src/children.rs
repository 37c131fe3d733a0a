//! The children of one supervisor, which survive its restarts.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::control::ControlHandle;
use crate::exit::ExitReason;
use crate::incarnation::Incarnation;
use crate::locked::locked;
use crate::messages::ChildExited;
use crate::restart::Restart;
use crate::spec::{ChildSpec, SupervisorSpec};

/// The current children of one supervisor. Outlives its incarnations, so that the next one starts the added children, does not
/// start the removed ones, and reports the exits that its predecessor could not.
#[derive(Clone)]
pub(crate) struct Children(Arc<Mutex<ChildrenState>>);

struct ChildrenState {
    spec: SupervisorSpec,
    /// The running children, by id; empty if no exits are reported.
    running: HashMap<String, StartedChild>,
    /// Exits to report, oldest first.
    exits: VecDeque<ChildExited>,
}

/// A running child whose exit is to be reported.
struct StartedChild {
    incarnation: Incarnation,
    control: ControlHandle,
}

impl StartedChild {
    /// Ends the child of a supervisor that has ended. If the child is fenced, its thread is unresponsive.
    fn end(self, id: String) -> ChildExited {
        let reason = if self.incarnation.is_fenced() { ExitReason::Unresponsive } else { ExitReason::Killed };
        self.incarnation.fence();
        self.control.kill();
        let (path, generation) = (self.incarnation.path().to_owned(), self.incarnation.generation());
        ChildExited { id, path, generation, reason }
    }
}

impl Children {
    pub(crate) fn new(spec: SupervisorSpec) -> Self {
        Self(Arc::new(Mutex::new(ChildrenState { spec, running: HashMap::new(), exits: VecDeque::new() })))
    }

    pub(crate) fn spec(&self) -> SupervisorSpec {
        self.locked().spec.clone()
    }

    /// Adds a child, unless it is temporary: those are not started again.
    pub(crate) fn add(&self, child: &ChildSpec) {
        if child.restart != Restart::Temporary {
            self.locked().spec.children.push(child.clone());
        }
    }

    pub(crate) fn remove(&self, id: &str) {
        self.locked().spec.children.retain(|child| child.id != id);
    }

    /// An incarnation of a child was started. Its exit is reported by this incarnation of the supervisor, or by the next one.
    pub(crate) fn started(&self, id: &str, incarnation: Incarnation, control: ControlHandle) {
        let mut children = self.locked();
        if children.spec.exits.is_some() {
            children.running.insert(id.to_owned(), StartedChild { incarnation, control });
        }
    }

    /// An incarnation of a child has ended. Its exit is to be reported, unless the next incarnation of the supervisor took it over.
    pub(crate) fn ended(&self, incarnation: &Incarnation, exited: ChildExited) {
        let mut children = self.locked();
        let is_same = |child: &StartedChild| child.incarnation.is_same(incarnation);
        if children.running.get(&exited.id).is_some_and(is_same) {
            children.running.remove(&exited.id);
            children.exits.push_back(exited);
        }
    }

    /// Ends the children of the previous incarnation of the supervisor. Their exits are to be reported.
    pub(crate) fn take_over(&self) {
        let mut children = self.locked();
        let left = std::mem::take(&mut children.running);
        children.exits.extend(left.into_iter().map(|(id, child)| child.end(id)));
    }

    /// The oldest exit to report.
    pub(crate) fn first_exit(&self) -> Option<ChildExited> {
        self.locked().exits.front().cloned()
    }

    /// The oldest exit was reported, or has no receiver.
    pub(crate) fn remove_first_exit(&self) {
        self.locked().exits.pop_front();
    }

    fn locked(&self) -> MutexGuard<'_, ChildrenState> {
        locked(&self.0)
    }
}
