//! The messages of a profile, apart from those in `agent/messages.rs`, by which its agent is run. No message returns a secret; the
//! upgrade token, which is valid for 300 s, is the one exception.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::Message;
use secrecy::SecretString;

use super::agent::messages::{AuthorisedCall, GetAgent, SpawnChild};
use crate::relay::claims::GatewayKey;
use crate::relay::policy::Policy;
use crate::settings::{Environment, ProfileSettings, Settings};
use caduceus_contract::messages::profile::{GetProfile, ReadEnvAgain, TokenChanged, VerifyDelivery};
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
    pub policies: Vec<Policy>,
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
