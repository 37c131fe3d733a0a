//! Faults that the runner carries out on demand, so that a release binary can be tried.

use std::time::Duration;

/// What shall go wrong, once. Always compiled in; refused unless the root was started with faults allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Blocks the thread for so long before the next message; should the instance be fenced off meanwhile, it drops
    /// that message unhandled.
    HangThread(Duration),
    /// Blocks the thread for so long in a timer of the actor, at once: the hang of one that takes no messages.
    HangInTimer(Duration),
    /// The actor waits for ever, while its thread goes on.
    HangActor,
    /// The next stop begins only after so long.
    SlowStop(Duration),
}

impl Fault {
    /// Whether it strikes the next incarnation instead of the running one.
    pub(super) fn at_birth(self) -> bool {
        matches!(self, Self::PanicInStarted | Self::PanicInFactory)
    }

    /// Whether it strikes in place of the next message.
    pub(super) fn at_message(self) -> bool {
        matches!(self, Self::PanicInHandler | Self::HangThread(_))
    }
}
