//! The children of one supervisor, which survive its restarts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::board::{RunningChild, StatusCell, wall_clock};
use crate::exit::ExitReason;
use crate::incarnation::Incarnation;
use crate::locked::locked;
use crate::messages::ChildExited;
use crate::port::{Port, TellError};
use crate::restart::Restart;
use crate::spec::{ChildSpec, SupervisorSpec};

/// The current children of one supervisor. Outlives its incarnations, so that the next one starts the added children, does not
/// start the removed ones, and reports the exits that its predecessor could not. The running incarnations are on the board.
#[derive(Clone)]
pub(crate) struct Children(Arc<Mutex<ChildrenState>>);

struct ChildrenState {
    spec: SupervisorSpec,
    /// Exits to report, oldest first; empty if none are reported.
    exits: VecDeque<ChildExited>,
}

impl Children {
    pub(crate) fn new(spec: SupervisorSpec) -> Self {
        Self(Arc::new(Mutex::new(ChildrenState { spec, exits: VecDeque::new() })))
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
        self.locked().spec.children.retain(|child| *child.id != *id);
    }

    /// An incarnation of the child of `cell` has ended. Its exit is to be reported, unless the next incarnation of the supervisor has
    /// taken the child over. Returns whether it has not.
    pub(crate) fn ended(&self, cell: &StatusCell, incarnation: &Incarnation, reason: ExitReason) -> bool {
        let mut children = self.locked();
        let is_same = |running: &mut RunningChild| running.incarnation.is_same(incarnation);
        let ended = cell.write(|status| status.running.take_if(is_same)).is_some();
        if ended {
            children.add_exit(incarnation.clone(), reason);
        }
        ended
    }

    /// Ends the incarnation of the child of `cell` that the previous incarnation of the supervisor has left running. If it is fenced,
    /// its thread is unresponsive. Its exit is to be reported.
    pub(crate) fn take_over(&self, cell: &StatusCell) {
        let mut children = self.locked();
        let Some(RunningChild { incarnation, .. }) = cell.write(|status| status.running.take()) else { return };
        let reason = if incarnation.is_fenced() { ExitReason::Unresponsive } else { ExitReason::Killed };
        incarnation.fence();
        incarnation.control().kill();
        cell.write(|status| status.last_exit = Some((reason.clone(), wall_clock())));
        children.add_exit(incarnation, reason);
    }

    /// Reports the exits in order, until the mailbox of the receiver is full; returns whether it is. None may be lost, because the
    /// receiver may wait for it without a timeout. Those of a fenced supervisor are left for its next incarnation.
    pub(crate) fn report_exits(&self, port: &Port<ChildExited>) -> bool {
        // Locked to the end, so that the next incarnation of a supervisor that is fenced meanwhile finds what is left.
        let mut children = self.locked();
        while let Some(exited) = children.exits.pop_front() {
            match port.tell_or_return(exited) {
                Ok(()) => {}
                Err((error @ TellError::Closed, exited)) => {
                    tracing::warn!(child = %exited.path(), %error, "exit was not reported");
                }
                Err((error @ (TellError::Full | TellError::Fenced), exited)) => {
                    children.exits.push_front(exited);
                    return error == TellError::Full;
                }
            }
        }
        false
    }

    fn locked(&self) -> MutexGuard<'_, ChildrenState> {
        locked(&self.0)
    }
}

impl ChildrenState {
    fn add_exit(&mut self, incarnation: Incarnation, reason: ExitReason) {
        if self.spec.exits.is_some() {
            self.exits.push_back(ChildExited { incarnation, reason });
        }
    }
}
