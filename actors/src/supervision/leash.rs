//! How a supervisor reaches a running incarnation without going through its mailbox.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;

use super::fault::Fault;

const RUN: u8 = 0;
const STOP: u8 = 1;
const KILL: u8 = 2;

/// Orders from the supervisor to the runner of one incarnation. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Leash(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    order: AtomicU8,
    waker: AtomicWaker,
    /// Mirrors `fault.is_some()`: the pump looks before each message, and a lock there would be felt.
    armed: AtomicBool,
    fault: Mutex<Option<Fault>>,
}

impl Leash {
    /// Asks politely: the actor's `stopping` is called and may still say no for a while.
    pub(super) fn stop(&self) {
        // A kill is never taken back.
        self.0.order.fetch_max(STOP, Ordering::SeqCst);
        self.0.waker.wake();
    }

    /// Has the actor dropped at its next turn.
    pub(super) fn kill(&self) {
        self.0.order.fetch_max(KILL, Ordering::SeqCst);
        self.0.waker.wake();
    }

    pub(super) fn wake(&self) {
        self.0.waker.wake();
    }

    pub(super) fn stop_ordered(&self) -> bool {
        self.0.order.load(Ordering::SeqCst) > RUN
    }

    pub(super) fn kill_ordered(&self) -> bool {
        self.0.order.load(Ordering::SeqCst) == KILL
    }

    pub(super) fn register(&self, waker: &Waker) {
        self.0.waker.register(waker);
    }

    pub(super) fn inject(&self, fault: Fault) {
        *self.0.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
        self.0.armed.store(true, Ordering::SeqCst);
        self.0.waker.wake();
    }

    /// Takes the injected fault if it is one of those that `wanted` accepts.
    pub(super) fn take_fault(&self, wanted: impl FnOnce(Fault) -> bool) -> Option<Fault> {
        if !self.0.armed.load(Ordering::Relaxed) {
            return None;
        }
        let mut slot = self.0.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = slot.take_if(|fault| wanted(*fault))?;
        self.0.armed.store(false, Ordering::SeqCst);
        Some(fault)
    }
}
