//! The messages of a profile. No message returns a secret; the upgrade token, which is valid for 300 s, is the one
//! exception.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use bytes::Bytes;
use secrecy::SecretString;
use tokio::sync::{mpsc, oneshot};

use super::agent::AgentSettings;
use super::input::AgentInput;
use super::redact::Lease;
use crate::relay::claims::GatewayKey;
use crate::settings::{Environment, ProfileSettings, Settings};
use crate::turn::guard::HeldGuard;
use caduceus_contract::messages::profile::{GetProfile, ReadEnvAgain, TokenChanged, VerifyDelivery};
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::provisioning::RelevancePolicy;
use caduceus_contract::wire::session::SessionKey;
use caduceus_supervision::Port;

/// The ports of one profile. They outlive every incarnation of its actor.
#[derive(Debug, Clone)]
pub struct ProfilePorts {
    /// The configuration of its agent.
    pub agent: Port<GetAgent>,
    /// Starts it.
    pub spawn: Port<SpawnChild>,
    /// Calls one that is a server.
    pub call: Port<AuthorisedCall>,
    /// Prepares a dial of its link.
    pub dial: Port<PrepareDial>,
    /// Whether a delivery is signed with one of its keys.
    pub verify: Port<VerifyDelivery>,
    /// Receives the grant's token.
    pub token: Port<TokenChanged>,
    /// The view of the profile.
    pub view: Port<GetProfile>,
    /// Its settings changed.
    pub terms: Port<TermsChanged>,
    /// Reads its `.env` again.
    pub read_again: Port<ReadEnvAgain>,
}

/// The settings of a profile. Its own secrets are not included; the profile reads them itself.
#[derive(Debug)]
pub struct ProfileTerms {
    /// The profile's own settings.
    pub profile: ProfileSettings,
    /// The environment of the process at its start.
    pub environment: Arc<Environment>,
    /// The values that the process lends to the profile whose home is the gateway's.
    pub lent: Option<LentTerms>,
}

/// The values that the process lends to one profile.
#[derive(Debug)]
pub struct LentTerms {
    /// The relay settings in `config.yaml`.
    pub relay: BTreeMap<&'static str, SecretString>,
    /// Whether this process has other profiles: then the rest of the environment belongs to none of them.
    pub shared: bool,
}

impl ProfileTerms {
    /// The terms of `profile` under `settings`.
    #[must_use]
    pub fn of(profile: &ProfileSettings, settings: &Settings) -> Self {
        let lent = || LentTerms { relay: settings.relay.clone(), shared: settings.multiplex };
        Self {
            profile: profile.clone(),
            environment: Arc::clone(&settings.environment),
            lent: (profile.home == settings.home).then(lent),
        }
    }
}

/// The settings of the profile have changed: they apply from its next turn on.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct TermsChanged(pub Arc<ProfileTerms>);

/// Asks for the current configuration of the profile's agent.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Arc<AgentSettings>")]
pub struct GetAgent;

/// Starts the profile's agent for one turn, with the profile's secrets in its environment.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<SpawnedChild, SpawnError>")]
pub struct SpawnChild {
    /// The settings in the answer to [`GetAgent`]: later changes apply from the next turn on.
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
    pub head: oneshot::Receiver<Result<Head, CallBroken>>,
    /// The server's body: a few pieces, and then the server waits. An error if the connection breaks off in the middle.
    pub body: mpsc::Receiver<Result<Bytes, CallBroken>>,
    /// Keeps the values of the call out of the logs, even after the profile's values have changed.
    pub secrets: Lease,
}

/// The status and headers of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
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

/// Asks for the parameters of one dial of the relay, with a new token.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<ConnectParams, NoConnectParams>")]
pub struct PrepareDial;

/// Answer to [`PrepareDial`].
#[derive(Debug, Clone)]
pub struct ConnectParams {
    /// The connector's address as configured; see `wire::url` of the contract for the addresses derived from it.
    pub url: String,
    /// Authenticates the upgrade; valid for 300 s. Without id and secret there is no token.
    pub token: Option<SecretString>,
    /// The gateway and its connector; `None` without a token.
    pub gateway: Option<GatewayKey>,
    /// Changes whenever the credentials do, so that a revoked link notices new ones.
    pub credentials: u64,
    /// The identities of this gateway, at least one.
    pub identities: Vec<Identity>,
    /// The policies to declare after the handshake, one per platform; most platforms have none.
    pub policies: Vec<RelevancePolicy>,
}

/// One platform identity on the relay.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// For example `discord`; `relay` by default.
    pub platform: String,
    /// May be empty.
    pub bot_id: String,
}

/// Why there is nothing to dial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoConnectParams {
    /// No address is set: the relay is switched off.
    #[error("no relay address is set")]
    NotSet,
    /// The address cannot be dialled.
    #[error("the relay address cannot be dialled: {0}")]
    Undialable(String),
}
