//! The messages of a profile, apart from those in `agent/messages.rs`, by which its agent is run. No message returns a secret; the
//! upgrade token, which is valid for 300 s, is the one exception.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::Message;
use secrecy::SecretString;

use super::agent::messages::AgentPorts;
use crate::relay::gateway_key::GatewayKey;
use crate::settings::{Environment, ProfileSettings, Settings};
use caduceus_contract::messages::profile::{GetProfile, ReloadEnv, TokenChanged, VerifyDelivery};
use caduceus_contract::wire::provisioning::RelevancePolicy;
use caduceus_supervision::{Port, port_set};

port_set! {
    /// The ports to one profile. They outlive every incarnation of its actor.
    pub struct ProfilePorts {
        /// Its agent.
        pub agent: AgentPorts,
        /// Prepares a dial of its link.
        pub dial: Port<PrepareDial>,
        /// Whether a delivery is signed with one of its keys.
        pub verify: Port<VerifyDelivery>,
        /// Receives the grant's token.
        pub token: Port<TokenChanged>,
        /// The view of the profile.
        pub view: Port<GetProfile>,
        /// Its settings changed.
        pub config: Port<ProfileConfigChanged>,
        /// Reads its `.env` again.
        pub reload: Port<ReloadEnv>,
    }
}

/// The configuration of a profile. Its own secrets are not included; the profile reads them itself.
#[derive(Debug)]
pub struct ProfileConfig {
    /// The profile's own settings.
    pub profile: ProfileSettings,
    /// The environment of the process at its start.
    pub environment: Arc<Environment>,
    /// What the profile whose home is the gateway's inherits from the process.
    pub inherited: Option<InheritedSettings>,
}

/// The settings that one profile inherits from the process.
#[derive(Debug)]
pub struct InheritedSettings {
    /// The relay settings in `config.yaml`.
    pub relay: BTreeMap<&'static str, SecretString>,
    /// Whether this process has other profiles: then the rest of the environment belongs to none of them.
    pub shared: bool,
}

impl ProfileConfig {
    /// The configuration of `profile` under `settings`.
    #[must_use]
    pub fn of(profile: &ProfileSettings, settings: &Settings) -> Self {
        let inherited = || InheritedSettings { relay: settings.relay.clone(), shared: settings.multiplex };
        Self {
            profile: profile.clone(),
            environment: Arc::clone(&settings.environment),
            inherited: (profile.home == settings.home).then(inherited),
        }
    }
}

/// The settings of the profile have changed: they apply from its next turn on.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ProfileConfigChanged(pub Arc<ProfileConfig>);

/// Requests the parameters of one dial of the relay, with a new token.
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
