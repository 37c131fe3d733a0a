//! The settings as values: what was read, and why it cannot be used.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::environment::Environment;
use crate::http_client::HttpClient;
use crate::network::Network;
use crate::profile::agent::AgentSettings;
use crate::profile::name::ProfileName;
use crate::relay::policy::Relevance;
use crate::relay::route::Routes;
use crate::relay::session::SessionRules;
use crate::relay::timings::LinkTimings;
use caduceus_supervision::RestartPolicy;

/// Where signed deliveries come in unless said otherwise.
pub(super) const DEFAULT_INBOUND_PATH: &str = "/relay/inbound";

/// All settings of one gateway.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The home whose `gateway.lock` we hold.
    pub home: PathBuf,
    /// Whether named profiles are served beside the default one.
    pub multiplex: bool,
    /// What the process was started with.
    pub environment: Arc<Environment>,
    /// The profiles to serve, the default one first.
    pub profiles: Vec<ProfileSettings>,
    /// Where HTTP listens.
    pub bind: SocketAddr,
    /// Further names that HTTP is called by, `host` or `host:port`.
    pub names: Vec<String>,
    /// Peers that may name the address for which they ask.
    pub trusted_proxies: Vec<Network>,
    /// The relay as `config.yaml` has it; environment and `.env` win over it.
    pub relay: BTreeMap<&'static str, SecretString>,
    /// Where signed deliveries come in.
    pub inbound: InboundSettings,
    /// How HTTP calls are made: by which roots of TLS, and through which proxies.
    pub trust: HttpClient,
    /// How long a link waits for what.
    pub link_timings: LinkTimings,
    /// How session keys are made.
    pub session_rules: SessionRules,
    /// What happens to a message while its session is busy.
    pub busy: Busy,
    /// Which profile an event runs under when it does not say.
    pub routes: Routes,
    /// Turns at once over all sessions.
    pub max_concurrent_turns: usize,
    /// What becomes of turns that a crash cut off.
    pub interrupted: Interrupted,
    /// What a message gets that comes during a drain.
    pub refused: WhenRefused,
    /// The chat that gets a notice at start and at shutdown.
    pub home_channel: Option<HomeChannel>,
    /// How long a shutdown waits for turns.
    pub drain_timeout: Duration,
    /// Who may drain.
    pub drain_auth: DrainAuth,
    /// Restarts and heartbeats.
    pub supervision: SupervisionSettings,
    /// Oddities that do not stop the gateway, one sentence each.
    pub warnings: Vec<String>,
}

/// What one profile needs to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileSettings {
    /// Its name.
    pub name: ProfileName,
    /// Its directory, which holds its `.env`.
    pub home: PathBuf,
    /// How its agent is run.
    pub agent: AgentSettings,
    /// Which messages are worth waking it for.
    pub relevance: Relevance,
    /// Whether its `.env` holds what a link of its own takes: address, id and secret.
    pub own_link: bool,
    /// What is wrong with its own configuration, one sentence each: it comes up degraded.
    pub problems: Vec<String>,
}

/// Where signed deliveries come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundSettings {
    /// The path of events; interrupts have `/interrupt` behind it.
    pub path: String,
    /// A listener for these alone; the main one, if there is none.
    pub bind: Option<SocketAddr>,
}

impl Default for InboundSettings {
    fn default() -> Self {
        Self { path: DEFAULT_INBOUND_PATH.to_owned(), bind: None }
    }
}

/// A chat that gets a notice at start and at shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeChannel {
    /// Its platform, such as `discord`.
    pub platform: String,
    /// The chat.
    pub chat_id: String,
}

/// What happens to a message while its session is busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Busy {
    /// It waits its turn.
    #[default]
    Queue,
    /// The running turn is stopped for it.
    Interrupt,
    /// It is handed to the running agent.
    Steer,
    /// The chat gets a notice to wait.
    Reject,
}

/// What becomes of turns that a crash cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interrupted {
    /// The chat gets a notice, and `/retry` runs it again.
    #[default]
    Ask,
    /// It runs again, at most 3 times in all.
    Rerun,
    /// It is forgotten.
    Drop,
}

/// What a message gets that comes during a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenRefused {
    /// A notice to send it again.
    Notice,
    /// It is kept and runs when the drain ends.
    #[default]
    Hold,
}

/// Who may drain.
#[derive(Debug, Clone)]
pub struct DrainAuth {
    /// The shared secret; the token seam keeps a digest of it only.
    pub secret: Option<SecretString>,
    /// The scope that it grants.
    pub scope: String,
    /// Fewest characters of a secret.
    pub min_chars: usize,
}

/// Restarts and heartbeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisionSettings {
    /// A thread or actor without a heartbeat for this long is replaced.
    pub unresponsive_after: Duration,
    /// Restart policy by kind of actor (`relay`, `drain`, …); those not named have the default.
    pub policies: BTreeMap<String, RestartPolicy>,
}

/// Why the gateway cannot start with these settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// There is no such directory.
    #[error("the home {0} does not exist; create it, or name another with --home")]
    NoHome(PathBuf),
    /// It is there but cannot be used.
    #[error("the home {path} cannot be used: {reason}")]
    UnusableHome {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The configuration is wrong; every mistake is listed.
    #[error("the configuration is wrong:\n  {}", .0.join("\n  "))]
    Wrong(Vec<String>),
}

impl Settings {
    /// Hands out who may drain, and keeps nothing of it: the token seam has a digest, and nothing else needs the secret.
    pub fn take_drain_auth(&mut self) -> DrainAuth {
        Arc::make_mut(&mut self.environment).drain_secret = None;
        DrainAuth {
            secret: self.drain_auth.secret.take(),
            scope: self.drain_auth.scope.clone(),
            min_chars: self.drain_auth.min_chars,
        }
    }
}
