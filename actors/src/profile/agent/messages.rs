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

/// How the profile's agent is run, as of now.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Arc<AgentSettings>")]
pub struct GetAgent;

/// Starts the profile's agent for one turn, with the profile's secrets in its environment.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<SpawnedChild, SpawnError>")]
pub struct SpawnChild {
    /// By which settings, as [`GetAgent`] was answered: what has changed since holds from the next turn on.
    pub agent: Arc<AgentSettings>,
    /// For which turn.
    pub turn: TurnId,
    /// In which session.
    pub session: SessionKey,
    /// Counts the attempts at this event, from 1.
    pub attempt: u32,
}

/// A running agent: the guard that leads its process group, and the pipes. Dropping `lifeline` ends the whole subtree,
/// and dropping `guard` leaves no zombie: an answer that is not taken is cleaned up by being dropped.
#[derive(Debug)]
pub struct SpawnedChild {
    /// The guard; its process id is the group's.
    pub guard: HeldGuard,
    /// The agent's standard input, with the way by which the profile hands the agent a token that changes.
    pub stdin: AgentInput,
    /// The agent's standard output.
    pub stdout: OwnedFd,
    /// The agent's standard error.
    pub stderr: OwnedFd,
    /// As long as this is open the guard lets the agent run.
    pub lifeline: OwnedFd,
    /// Keeps the values it was started with out of the logs, also when the profile has others by now.
    pub secrets: Lease,
}

/// Why no agent was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// The profile's agent is none that is a process.
    #[error("the profile's agent is not a command")]
    NotACommand,
    /// The command is not there or may not be run; the profile is degraded until that changes.
    #[error("the agent's command {command:?} cannot be run: {reason}")]
    CommandNotFound {
        /// The first word of the command.
        command: String,
        /// What the system said.
        reason: String,
    },
    /// The system has no room for another process; worth retrying.
    #[error("the agent could not be started: {0}")]
    System(String),
}

/// Calls the server that is the profile's agent, with the profile's key: a POST to its `/chat/completions`. Where the key
/// goes is the profile's to say, not the asker's. Answered once the call is under way.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Call, CallError>")]
pub struct AuthorisedCall {
    /// See [`SpawnChild::agent`].
    pub agent: Arc<AgentSettings>,
    /// For which turn.
    pub turn: TurnId,
    /// What is sent; JSON.
    pub body: Bytes,
}

/// A call under way. Dropping `body` aborts it, whatever it waits for.
#[derive(Debug)]
pub struct Call {
    /// How the server answers, once it does.
    pub head: oneshot::Receiver<Result<Head, CallBroken>>,
    /// What it says: a few pieces, and then the server waits. Ends in the same way where the server went away in the midst of it.
    pub body: mpsc::Receiver<Result<Bytes, CallBroken>>,
    /// Keeps the values it was made with out of the logs, also when the profile has others by now.
    pub secrets: Lease,
}

/// How a server answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The status code. Redirects are not followed.
    pub status: u16,
    /// When it wants to be asked again.
    pub retry_after: Option<Duration>,
}

/// Why no call was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The profile's agent is none that is a server.
    #[error("the profile's agent is not a server")]
    NotAServer,
    /// Something of the configuration cannot be used, and is named; the profile is degraded until that changes.
    #[error("{0}")]
    Unusable(String),
    /// Worth retrying.
    #[error("the agent's server could not be called: {0}")]
    NotNow(String),
}

/// Why a call came to nothing, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallBroken {
    /// No connection came about.
    #[error("the agent's server cannot be reached: {0}")]
    Unreachable(String),
    /// Nothing came for this long.
    #[error("the agent's server said nothing for {0:?}")]
    Silent(Duration),
    /// The connection broke.
    #[error("the connection to the agent's server broke: {0}")]
    Broken(String),
    /// The server sent the call elsewhere, where the key must not go.
    #[error("the agent's server cannot be used: {why}")]
    Redirect {
        /// The status.
        status: u16,
        /// One clause.
        why: String,
    },
    /// What the server answers is of no use, and would be again.
    #[error("the agent's server cannot be used: {0}")]
    Unfit(String),
    /// The server said more than an answer may hold.
    #[error("the agent's server said more than {0} bytes")]
    TooLong(usize),
}
