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
    /// How its agent is run.
    pub agent: Port<GetAgent>,
    /// Starts it.
    pub spawn: Port<SpawnChild>,
    /// Calls one that is a server.
    pub call: Port<AuthorisedCall>,
    /// Prepares a dial of its link.
    pub dial: Port<PrepareDial>,
    /// Says whether a delivery is signed with one of its keys.
    pub verify: Port<VerifyDelivery>,
    /// Hands it its grant's token.
    pub token: Port<TokenChanged>,
    /// How it is.
    pub view: Port<GetProfile>,
    /// Its settings changed.
    pub terms: Port<TermsChanged>,
    /// Has its `.env` read again.
    pub read_again: Port<ReadEnvAgain>,
}

/// What a profile is run by. Its own secrets are not in here; it reads them itself.
#[derive(Debug)]
pub struct ProfileTerms {
    /// What is its own.
    pub profile: ProfileSettings,
    /// What the process was started with.
    pub environment: Arc<Environment>,
    /// What the process lends the profile whose home is the gateway's.
    pub lent: Option<LentTerms>,
}

/// What the process lends one profile.
#[derive(Debug)]
pub struct LentTerms {
    /// The relay as `config.yaml` has it.
    pub relay: BTreeMap<&'static str, SecretString>,
    /// Whether other profiles live in this process: then the rest of the environment belongs to none of them.
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

/// News: the profile runs by these terms from its next turn on.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct TermsChanged(pub Arc<ProfileTerms>);

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

/// Asks for all that one dial of the relay needs, with a freshly minted token.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<ConnectParams, NoConnectParams>")]
pub struct PrepareDial;

/// Answer to [`PrepareDial`].
#[derive(Debug, Clone)]
pub struct ConnectParams {
    /// The connector's address as configured; see `caduceus_contract::wire::url` for the forms derived from it.
    pub url: String,
    /// Authenticates the upgrade; valid for 300 s. Without id and secret the dial goes without a token.
    pub token: Option<SecretString>,
    /// As which gateway, at which connector; `None` without a token.
    pub gateway: Option<GatewayKey>,
    /// Changes whenever the credentials do, so that a revoked link sees that there are new ones.
    pub credentials: u64,
    /// The identities that this gateway fronts, at least one.
    pub identities: Vec<Identity>,
    /// What is declared to the connector after the handshake, a platform each; most platforms have no policy.
    pub policies: Vec<RelevancePolicy>,
}

/// One platform identity fronted over the relay.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Such as `discord`; `relay` by default.
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
