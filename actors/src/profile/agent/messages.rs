//! The messages by which a turn has its profile run the agent. They name no settings of the process: the settings list the backends,
//! and the backends send these.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::AgentSettings;
use crate::profile::input::AgentInput;
use crate::profile::redact::Lease;
use crate::turn::guard::HeldGuard;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::session::SessionKey;
use caduceus_supervision::{Port, port_set};

port_set! {
    /// The ports of a turn to the profile that runs its agent.
    pub struct AgentPorts {
        /// Starts an agent that is a process.
        pub spawn: Port<SpawnChild>,
        /// Calls an agent that is a server.
        pub call: Port<AuthorisedCall>,
    }
}

/// Starts the profile's agent for one turn, with the profile's secrets in its environment.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<SpawnedChild, SpawnError>")]
pub struct SpawnChild {
    /// The settings when the turn started: later changes apply from the next turn on.
    pub agent: Arc<AgentSettings>,
    /// The turn.
    pub turn: TurnId,
    /// The session.
    pub session: SessionKey,
    /// The number of this attempt at the event, from 1.
    pub attempt: u32,
}

/// A running agent: the guard that leads its process group, and the pipes. Dropping `lifeline` ends the whole subtree,
/// and dropping `guard` leaves no zombie: dropping an unused answer cleans up.
#[derive(Debug)]
pub struct SpawnedChild {
    /// The guard; its process id is the group's.
    pub guard: HeldGuard,
    /// The agent's standard input, with the channel for a token that changes.
    pub stdin: AgentInput,
    /// The agent's standard output.
    pub stdout: OwnedFd,
    /// The agent's standard error.
    pub stderr: OwnedFd,
    /// While this is open, the guard lets the agent run.
    pub lifeline: OwnedFd,
    /// Keeps the values of its start out of the logs, even after the profile's values have changed.
    pub secrets: Lease,
}

/// Why no agent was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// The profile's agent is not a process.
    #[error("the profile's agent is not a command")]
    NotACommand,
    /// The command does not exist or may not be run; the profile is degraded until that changes.
    #[error("the agent's command {command:?} cannot be run: {reason}")]
    CommandNotFound {
        /// The first word of the command.
        command: String,
        /// The system's error.
        reason: String,
    },
    /// The system has no resources for another process; worth retrying.
    #[error("the agent could not be started: {0}")]
    System(String),
}

/// Calls the server that is the profile's agent, with the profile's key: a POST to its `/chat/completions`. The profile decides
/// the address, not the caller. Answered once the call has started.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Call, CallError>")]
pub struct AuthorisedCall {
    /// See [`SpawnChild::agent`].
    pub agent: Arc<AgentSettings>,
    /// The turn.
    pub turn: TurnId,
    /// The body; JSON.
    pub body: Bytes,
}

/// A call in progress. Dropping `body` aborts it at any point.
#[derive(Debug)]
pub struct Call {
    /// The server's status and headers, once they arrive.
    pub head: oneshot::Receiver<Result<ResponseHead, CallBroken>>,
    /// The server's body: a few pieces, and then the server waits. An error if the connection breaks off in the middle.
    pub body: mpsc::Receiver<Result<Bytes, CallBroken>>,
    /// Keeps the values of the call out of the logs, even after the profile's values have changed.
    pub secrets: Lease,
}

/// The status and headers of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code. Redirects are not followed.
    pub status: u16,
    /// The wait that it requests.
    pub retry_after: Option<Duration>,
}

/// Why no call was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The profile's agent is not a server.
    #[error("the profile's agent is not a server")]
    NotAServer,
    /// A named part of the configuration cannot be used; the profile is degraded until that changes.
    #[error("{0}")]
    Unusable(String),
    /// Worth retrying.
    #[error("the agent's server could not be called: {0}")]
    NotNow(String),
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallBroken {
    /// No connection was established.
    #[error("the agent's server cannot be reached: {0}")]
    Unreachable(String),
    /// No data arrived for this long.
    #[error("the agent's server sent nothing for {0:?}")]
    Silent(Duration),
    /// The connection broke.
    #[error("the connection to the agent's server broke: {0}")]
    Broken(String),
    /// The server redirected the call to where the key must not go.
    #[error("the agent's server cannot be used: {why}")]
    Redirect {
        /// The status.
        status: u16,
        /// One clause.
        why: String,
    },
    /// The server's answer cannot be used, and would be the same again.
    #[error("the agent's server cannot be used: {0}")]
    Unfit(String),
    /// The server's answer exceeds the limit.
    #[error("the agent's server sent more than {0} bytes")]
    TooLong(usize),
}
