//! What a supervisor may be asked, and what it tells.

use actix::Message;

use super::exit::ExitReason;
use super::fault::Fault;
use super::port::AskError;
use super::spec::ChildSpec;

/// Starts one more child, after those that are there. A restart of the supervisor forgets it if it is temporary, and
/// otherwise starts it like any other.
#[derive(Message)]
#[rtype(result = "Result<(), StartChildError>")]
pub struct StartChild(pub ChildSpec);

/// Why [`StartChild`] was refused. In every case nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartChildError {
    /// A child of this id is still there.
    #[error("child id {0:?} is taken")]
    Taken(String),
    /// The supervisor is stopping.
    #[error("the supervisor is stopping")]
    Closing,
}

/// Stops a child of this supervisor and removes it from the tree, also for the restarts of the supervisor. Answered once the
/// stop has begun; until it is over the id is taken.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), OperateError>")]
pub struct StopChild {
    /// Id of the child.
    pub id: String,
}

/// What an operator may do to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Stop it politely and start it again; costs no restarts. Starts one that is down or parked, at once.
    Restart,
    /// Stop it and leave it down.
    Stop,
    /// Forget its restarts; starts it if it is parked or in its backoff.
    Reset,
}

/// Carries out an order on the child at `path`, such as `profiles/work`, below the supervisor that is asked.
/// Answered once the order has been taken, not when it is done.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), OperateError>")]
pub struct Operate {
    /// Ids from the asked supervisor's child down, joined by slashes.
    pub path: String,
    /// What to do.
    pub order: Order,
}

/// Has a fault strike the child at `path`. For trials only.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), OperateError>")]
pub struct InjectFault {
    /// Ids from the asked supervisor's child down, joined by slashes.
    pub path: String,
    /// What shall go wrong.
    pub fault: Fault,
}

/// Why an order was refused. In every case nothing was done, except perhaps for [`OperateError::Unreachable`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperateError {
    /// There is no child at this path.
    #[error("there is no child {0:?}")]
    NoSuchChild(String),
    /// The child is down, so no fault can strike it.
    #[error("child {0:?} is not running")]
    NotRunning(String),
    /// The process was not started with faults allowed.
    #[error("faults are not allowed here")]
    FaultsRefused,
    /// Its supervisor is stopping.
    #[error("the supervisor is stopping")]
    Closing,
    /// A supervisor on the way did not answer; it may be restarting.
    #[error("supervisor {id:?} did not answer")]
    Unreachable {
        /// Id of the supervisor that did not.
        id: String,
        /// Why not.
        source: AskError,
    },
}

/// An incarnation of a child has ended.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct ChildExited {
    /// Id of the child.
    pub id: String,
    /// Its path from the root.
    pub path: String,
    /// Which incarnation.
    pub generation: u64,
    /// Why.
    pub reason: ExitReason,
}
