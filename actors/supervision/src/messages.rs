//! The messages to a supervisor about its children, and its reports.

use actix::Message;

use crate::exit::ExitReason;
#[cfg(feature = "fault-injection")]
use crate::fault::Fault;
use crate::incarnation::Incarnation;
use crate::port::AskError;

/// Stops a child of this supervisor and removes it from the tree; a restart of the supervisor does not start it again. Answered
/// once the stop has begun; the id stays taken until the stop is complete.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), OperateError>")]
pub struct StopChild {
    /// Id of the child.
    pub id: String,
}

/// A command of an operator for one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperatorCommand {
    /// Stop it and start it again, without counting against its restart intensity. A stopped or failed child is started at
    /// once.
    Restart,
    /// Stop it and leave it stopped.
    Stop,
    /// Reset its count of restarts; starts it if it is failed or in its backoff.
    Reset,
}

/// Carries out a command on the child at `path`, such as `links/primary`, below the supervisor that receives the message.
/// Answered once the command is accepted, not when it is done.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), OperateError>")]
pub struct Operate {
    /// Ids from the receiving supervisor's child down, joined by slashes.
    pub path: String,
    /// The command.
    pub command: OperatorCommand,
}

/// Injects a fault into the child at `path`. For tests only.
#[cfg(feature = "fault-injection")]
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), OperateError>")]
pub struct InjectFault {
    /// Ids from the receiving supervisor's child down, joined by slashes.
    pub path: String,
    /// The fault.
    pub fault: Fault,
}

/// Why a command was refused. In every case nothing was done, except perhaps for [`OperateError::Unreachable`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperateError {
    /// There is no child at this path.
    #[error("no child {0:?}")]
    NoSuchChild(String),
    /// The child is not running, so no fault can be injected.
    #[error("child {0:?} is not running")]
    NotRunning(String),
    /// The tree was not started with faults allowed.
    #[error("fault injection is not allowed")]
    FaultsRefused,
    /// Its supervisor is stopping.
    #[error("the supervisor is stopping")]
    Closing,
    /// A supervisor on the path did not answer; it may be restarting.
    #[error("supervisor {id:?} did not answer")]
    Unreachable {
        /// Id of the supervisor.
        id: String,
        /// Why there was no answer.
        source: AskError,
    },
}

/// An incarnation of a child has ended.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ChildExited {
    pub(crate) incarnation: Incarnation,
    /// The exit reason.
    pub reason: ExitReason,
}

impl ChildExited {
    /// Id of the child.
    #[must_use]
    pub fn id(&self) -> &str {
        self.incarnation.id()
    }

    /// Its path from the root.
    #[must_use]
    pub fn path(&self) -> &str {
        self.incarnation.path()
    }

    /// Number of the incarnation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.incarnation.generation()
    }
}
