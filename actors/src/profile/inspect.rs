//! A profile examined outside the gateway, for the commands. Reading blocks.
//!
//! By the same rules and the same code as the actor's, so that the results agree.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::agent::ExecSettings;
use super::child_env::{ChildContext, child_env};
use super::dial::{self, Link};
use super::env_file::EnvFile;
use super::env_source::{self, EnvContent};
use super::plan;
pub use super::plan::Missing;
use super::redact::Redactor;
use super::scope::{Inherited, Scope};
use crate::files::workers::{Owner, TIMEOUT};
use crate::files::{FileWorker, Purpose};
use crate::relay::gateway_key::GatewayKey;
use crate::relay::identity::IdentitySource;
use crate::settings::{ProfileSettings, Settings};
use caduceus_contract::wire::token;
use caduceus_contract::wire::url::RelayUrl;

/// The names that a profile has and lacks. `Debug` shows names only.
#[derive(Debug, Default)]
pub struct Inspection {
    /// Its `.env`; empty if that cannot be used.
    pub own: EnvFile,
    /// Why its `.env` cannot be used. Contains none of its content.
    pub problem: Option<String>,
    /// The names that its configuration needs and its scope lacks.
    pub missing: Vec<Missing>,
    /// The gateway in its settings, if they make a link.
    pub gateway: Option<GatewayKey>,
    /// Its own values and those of the calling process, which may differ from the gateway's.
    scope: Scope,
}

/// Examines `profile`, one of those in `settings`.
#[must_use]
pub fn inspect(profile: &ProfileSettings, settings: &Settings) -> Inspection {
    let path = profile.home.join(env_source::FILE_NAME);
    let worker = FileWorker::of(&profile.home, Purpose::Secrets, Owner::Profile);
    let read = worker.begin(move || env_source::read(&path, None)).wait(Instant::now() + TIMEOUT);
    let (own, problem) = match read {
        Ok(Some((_, EnvContent::Values(own)))) => (own, None),
        Ok(Some((_, EnvContent::Unusable(reason)))) => (EnvFile::default(), Some(reason)),
        // Only a file with an unchanged stamp is not read.
        Ok(None) => (EnvFile::default(), None),
        Err(error) => (EnvFile::default(), Some(error.to_string())),
    };
    let inherited =
        Inherited { environment: &settings.environment, relay: &settings.relay, shared: settings.multiplex };
    let scope = Scope::new(&own, (profile.home == settings.home).then_some(inherited));
    let missing = plan::missing(&profile.agent, &scope);
    let link = if profile.home == settings.home { Link::Process } else { Link::Own };
    let gateway = dial::gateway(&scope, link);
    Inspection { own, problem, missing, gateway, scope }
}

impl Inspection {
    /// For a profile with this file that inherits nothing.
    #[must_use]
    pub fn of(own: EnvFile) -> Self {
        let scope = Scope::new(&own, None);
        Self { gateway: dial::gateway(&scope, Link::Own), scope, own, ..Self::default() }
    }

    /// For a profile whose `.env` cannot be read, for this reason.
    #[must_use]
    pub fn unanswered(why: String) -> Self {
        Self { problem: Some(why), ..Self::default() }
    }

    /// Makes `redactor` replace the secrets in its scope.
    pub fn add_to(&self, source: &str, redactor: &Redactor) {
        redactor.replace(source, self.scope.secrets());
    }

    /// Every name in its scope, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.scope.iter().map(|(name, _)| name)
    }

    /// Whether the gateway's own link has this setting.
    #[must_use]
    pub fn has_setting(&self, name: &str) -> bool {
        self.scope.setting(name).is_some()
    }

    /// The address of the gateway's own link.
    #[must_use]
    pub fn relay_url(&self) -> Option<RelayUrl> {
        self.scope.setting("GATEWAY_RELAY_URL").map(RelayUrl::new)
    }

    /// A token for the upgrade of the gateway's own link, if there are credentials for it.
    #[must_use]
    pub fn upgrade_token(&self) -> Option<SecretString> {
        let (id, secret) = self.scope.setting("GATEWAY_RELAY_ID").zip(self.scope.setting("GATEWAY_RELAY_SECRET"))?;
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Some(token::mint(id, &SecretString::from(secret), now_s, token::DEFAULT_TTL_S))
    }

    /// The identity source for a gateway of `home`.
    #[must_use]
    pub fn identity(&self, home: &Path) -> IdentitySource {
        IdentitySource::of(&|name| self.scope.setting(name), home)
    }

    /// The single-use enrollment token.
    #[must_use]
    pub fn enroll_token(&self) -> Option<SecretString> {
        self.scope.setting("GATEWAY_RELAY_ENROLL_TOKEN").map(SecretString::from)
    }

    /// The command line of its agent.
    ///
    /// # Errors
    /// A name that it refers to, which is not allowed.
    pub fn command<'a>(&self, exec: &'a ExecSettings) -> Result<Vec<String>, &'a str> {
        plan::words(exec)
    }

    /// The working directory of its agent.
    ///
    /// # Errors
    /// A name that it refers to and that is not set.
    pub fn cwd<'a>(&self, exec: &'a ExecSettings, home: &Path) -> Result<PathBuf, &'a str> {
        plan::cwd(exec, home, &self.scope)
    }

    /// The names in its agent's environment, sorted.
    #[must_use]
    pub fn child_variables(&self, settings: &Settings, exec: &ExecSettings, context: &ChildContext<'_>) -> Vec<String> {
        child_env(&settings.environment, &exec.env_pass, &self.scope, context).into_keys().collect()
    }

    /// The secrets of at least `min_chars`: the name of each, and a hash that means nothing without `key` and is the same for the
    /// same value.
    ///
    /// # Panics
    /// Never: a key of any length is accepted.
    pub fn tags<'a>(&'a self, key: &'a [u8; 32], min_chars: usize) -> impl Iterator<Item = (&'a str, [u8; 32])> {
        let values = self.scope.secrets().map(|(name, value)| (name, value.expose_secret()));
        values.filter(move |(_, value)| value.chars().count() >= min_chars).map(move |(name, value)| {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length is taken");
            mac.update(value.as_bytes());
            (name, mac.finalize().into_bytes().into())
        })
    }
}
