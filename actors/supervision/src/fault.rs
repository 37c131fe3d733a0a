//! Faults that the runner executes on demand, so that a release binary can be tested.
//!
//! Without the feature `fault-injection` no fault can be injected, and the check for one costs nothing.

use std::time::Duration;

/// A fault, injected once. Refused unless the root was started with
/// [`RootOptions::faults_allowed`](crate::RootOptions::faults_allowed).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "fault-injection"), expect(dead_code, unreachable_pub, reason = "nothing injects a fault"))]
pub enum Fault {
    /// Panics in place of handling the next message, which is lost.
    PanicInHandler,
    /// Panics in a timer of the actor, at once.
    PanicInTimer,
    /// Panics while the actor waits for an atomic response, at once.
    PanicInResponse,
    /// Restarts the child; the new incarnation panics in `started`.
    PanicInStarted,
    /// Restarts the child; the factory of the new incarnation panics.
    PanicInFactory,
    /// Stops the child, whose drop panics.
    PanicInDrop,
    /// Blocks the thread for this long before the next message. An incarnation that is fenced meanwhile drops that
    /// message unhandled.
    HangThread(Duration),
    /// Blocks the thread for this long in a timer of the actor, at once, also if the actor receives no message.
    HangInTimer(Duration),
    /// The actor waits without end, while its thread runs.
    HangActor,
    /// The next stop begins only after this time.
    SlowStop(Duration),
}

impl Fault {
    /// Whether it takes effect in the next incarnation instead of the running one.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn at_start(self) -> bool {
        matches!(self, Self::PanicInStarted | Self::PanicInFactory)
    }

    /// Whether it takes effect in place of the next message.
    pub(crate) fn at_message(self) -> bool {
        matches!(self, Self::PanicInHandler | Self::HangThread(_))
    }
}

#[cfg(feature = "fault-injection")]
mod slot {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::Fault;
    use crate::locked::locked;

    /// Where an injected fault waits for the runner.
    #[derive(Debug, Default)]
    pub(crate) struct FaultSlot {
        /// Mirrors `fault.is_some()`: it is read before each message, and a lock there would be measurable.
        armed: AtomicBool,
        fault: Mutex<Option<Fault>>,
    }

    impl FaultSlot {
        pub(crate) fn put(&self, fault: Fault) {
            *locked(&self.fault) = Some(fault);
            self.armed.store(true, Ordering::SeqCst);
        }

        pub(crate) fn take(&self, accept: impl FnOnce(Fault) -> bool) -> Option<Fault> {
            if !self.armed.load(Ordering::Relaxed) {
                return None;
            }
            let mut slot = locked(&self.fault);
            let fault = slot.take_if(|fault| accept(*fault))?;
            self.armed.store(false, Ordering::SeqCst);
            Some(fault)
        }
    }
}

#[cfg(not(feature = "fault-injection"))]
mod slot {
    use super::Fault;

    /// Holds no fault.
    #[derive(Debug, Default)]
    pub(crate) struct FaultSlot;

    impl FaultSlot {
        #[expect(clippy::unused_self, reason = "the same interface as with the feature")]
        pub(crate) fn take(&self, _: impl FnOnce(Fault) -> bool) -> Option<Fault> {
            None
        }
    }
}

pub(crate) use slot::FaultSlot;
