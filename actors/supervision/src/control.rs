//! Commands from a supervisor to a running incarnation, outside its mailbox.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;

use crate::fault::{Fault, FaultSlot};

const RUN: u8 = 0;
const STOP: u8 = 1;
const KILL: u8 = 2;

/// Commands from the supervisor to the runner of one incarnation. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct ControlHandle(Arc<ControlState>);

#[derive(Debug, Default)]
struct ControlState {
    command: AtomicU8,
    waker: AtomicWaker,
    fault: FaultSlot,
}

impl ControlHandle {
    /// Requests a stop: the actor's `stopping` hook runs and may postpone it.
    pub(crate) fn stop(&self) {
        // A kill is never revoked.
        self.0.command.fetch_max(STOP, Ordering::SeqCst);
        self.0.waker.wake();
    }

    /// Drops the actor when its runner is polled next.
    pub(crate) fn kill(&self) {
        self.0.command.fetch_max(KILL, Ordering::SeqCst);
        self.0.waker.wake();
    }

    pub(crate) fn wake(&self) {
        self.0.waker.wake();
    }

    pub(crate) fn stop_requested(&self) -> bool {
        self.0.command.load(Ordering::SeqCst) > RUN
    }

    pub(crate) fn kill_requested(&self) -> bool {
        self.0.command.load(Ordering::SeqCst) == KILL
    }

    pub(crate) fn register(&self, waker: &Waker) {
        self.0.waker.register(waker);
    }

    #[cfg(feature = "fault-injection")]
    pub(crate) fn inject(&self, fault: Fault) {
        self.0.fault.put(fault);
        self.0.waker.wake();
    }

    /// Takes the injected fault if `accept` accepts it.
    pub(crate) fn take_fault(&self, accept: impl FnOnce(Fault) -> bool) -> Option<Fault> {
        self.0.fault.take(accept)
    }
}
