//! What HTTP asks of the life of the process.

use actix::Message;

/// Ends the process so that it is started again. Taken by whoever runs its life.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), AlreadyStopping>")]
pub(crate) struct RestartProcess {
    /// Who asks.
    pub(crate) principal: String,
    /// No turn is waited for, and a drain is over.
    pub(crate) force: bool,
}

/// The process goes down as it is; only `force` could still hurry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AlreadyStopping;
