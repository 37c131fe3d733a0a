//! Commands from a supervisor to a running incarnation, outside its mailbox.

use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;

use crate::fault::{Fault, FaultSlot};

const RUN: u8 = 0;
const STOP: u8 = 1;
const KILL: u8 = 2;

/// Commands from the supervisor to the runner of one incarnation.
#[derive(Debug, Default)]
pub(crate) struct RunnerControl {
    command: AtomicU8,
    waker: AtomicWaker,
    fault: FaultSlot,
}

impl RunnerControl {
    /// Requests a stop: the actor's `stopping` hook runs and may postpone it.
    pub(crate) fn stop(&self) {
        // A kill is never revoked.
        self.command.fetch_max(STOP, Ordering::SeqCst);
        self.waker.wake();
    }

    /// Drops the actor when its runner is polled next.
    pub(crate) fn kill(&self) {
        self.command.fetch_max(KILL, Ordering::SeqCst);
        self.waker.wake();
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    pub(crate) fn stop_requested(&self) -> bool {
        self.command.load(Ordering::SeqCst) > RUN
    }

    pub(crate) fn kill_requested(&self) -> bool {
        self.command.load(Ordering::SeqCst) == KILL
    }

    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    #[cfg(feature = "fault-injection")]
    pub(crate) fn inject(&self, fault: Fault) {
        self.fault.put(fault);
        self.waker.wake();
    }

    /// Takes the injected fault if `accept` accepts it.
    pub(crate) fn take_fault(&self, accept: impl FnOnce(Fault) -> bool) -> Option<Fault> {
        self.fault.take(accept)
    }
}
