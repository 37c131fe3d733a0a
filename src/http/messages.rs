//! The message from HTTP to the process.

use actix::Message;

/// Ends the process so that it is started again. Received by the lifecycle of the process.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), AlreadyStopping>")]
pub(crate) struct RestartProcess {
    /// The principal.
    pub(crate) principal: String,
    /// Do not wait for turns, and end a drain.
    pub(crate) force: bool,
}

/// The process is stopping already; only `force` can still shorten it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AlreadyStopping;
