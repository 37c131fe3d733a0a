//! All settings of one gateway, and how they are read from the files of its home.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

use super::environment::{DRAIN_SECRET, Environment, MULTIPLEX};
use super::error::SettingsError;
use super::home::{FILE_NAME, ORIGINAL_FILE_NAME, env_file_of, single_profile, usable};
use super::key_table::KeyTable as _;
use super::profiles::{self, ProfileSettings};
use super::values::Values;
use super::yaml::{self, Section, as_flag, flag_word};
use super::{agent, relay};
use crate::http_client::HttpClient;
use crate::profile::agent::AgentSettings;
use crate::relay::policy::Relevance;
use crate::relay::route::Routes;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::session::SessionRules;

/// 256 bits in url-safe base64.
const MIN_SECRET_CHARS: usize = 43;

/// All settings of one gateway.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The part without secrets, which every actor may read.
    pub open: Arc<OpenSettings>,
    /// The environment of the process.
    pub environment: Arc<Environment>,
    /// The profiles to serve, the default one first.
    pub profiles: Vec<ProfileSettings>,
    /// The relay's keys of `config.yaml`; environment and `.env` override them.
    pub relay: BTreeMap<&'static str, SecretString>,
    /// The client for HTTP calls, with its TLS roots and proxies.
    pub client: HttpClient,
    /// The credential for draining.
    pub drain_auth: DrainAuth,
    /// Warnings that do not stop the gateway, one sentence each.
    pub warnings: Vec<String>,
}

/// The settings without the profiles and without what may hold a secret. [`Settings`] derefs to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenSettings {
    /// The home; the process holds the `gateway.lock`.
    pub home: PathBuf,
    /// Whether named profiles are served beside the default one.
    pub multiplex: bool,
    /// How session keys are made.
    pub session_rules: SessionRules,
    /// The profile of an event that names none.
    pub routes: Routes,
    /// The values of `caduceus.yaml`, apart from the agent.
    pub values: Values,
}

impl Deref for Settings {
    type Target = OpenSettings;

    fn deref(&self) -> &OpenSettings {
        &self.open
    }
}

/// The credential that allows a drain.
#[derive(Debug, Clone)]
pub struct DrainAuth {
    /// The shared secret; the HTTP authenticator keeps a digest of it only.
    pub secret: Option<SecretString>,
    /// The scope that it grants.
    pub scope: String,
    /// Fewest characters of a secret.
    pub min_chars: usize,
}

impl Settings {
    /// Takes the credential for draining out of the settings: the HTTP authenticator keeps a digest, and no other part needs the secret.
    pub fn take_drain_auth(&mut self) -> DrainAuth {
        Arc::make_mut(&mut self.environment).drain_secret = None;
        DrainAuth {
            secret: self.drain_auth.secret.take(),
            scope: self.drain_auth.scope.clone(),
            min_chars: self.drain_auth.min_chars,
        }
    }

    /// Reads the settings of `home`.
    ///
    /// # Errors
    /// [`SettingsError`]; a broken file of a *named* profile is not one, it degrades that profile.
    pub fn load(home: &Path, environment: impl Into<Arc<Environment>>) -> Result<Self, SettingsError> {
        let mut settings = Self::read(home, environment.into(), None)?;
        settings.drain_auth.secret = drain_secret(&settings.home, &settings.environment);
        Ok(settings)
    }

    /// Reads everything except the secret for draining. A profile whose own file is broken keeps its settings of `last`.
    pub(super) fn read(home: &Path, environment: Arc<Environment>, last: Option<&Self>) -> Result<Self, SettingsError> {
        let home = usable(home)?;
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let original = or_report(yaml::read_original(&home.join(ORIGINAL_FILE_NAME)), &mut problems);
        let own_file = read(&home.join(FILE_NAME), &mut problems);

        let single = single_profile(&home);
        let multiplex = single.is_none() && multiplex(&original, &environment, &mut warnings);
        let (routes, skipped) = Routes::parse(lookup(&original, "profile_routes").unwrap_or(&Value::Null));
        warnings.extend(skipped.iter().map(ToString::to_string));

        let mut root = Section::root(own_file, &mut problems);
        let values = Values::read(&mut root, &Values::default());
        let agent = agent::read(&mut root);
        root.finish();
        let agent = agent.unwrap_or(AgentSettings::NONE);
        let named = if multiplex {
            profiles::named(&home, &agent, last.map_or(&[], |last| &last.profiles))
        } else {
            Ok(Vec::new())
        };
        let named = named.unwrap_or_else(|problem| {
            problems.push(problem);
            Vec::new()
        });
        if !problems.is_empty() {
            return Err(SettingsError::Wrong(problems));
        }
        let default = ProfileSettings {
            name: single.unwrap_or_else(ProfileName::default_profile),
            home: home.clone(),
            agent,
            relevance: Relevance::read(&original),
            own_link: false,
            problems: Vec::new(),
        };
        let client = relay::client(&home, &environment, values.relay.ca_file.as_deref(), &mut warnings);
        let session_rules = session_rules(&original);
        Ok(Self {
            open: Arc::new(OpenSettings { home, multiplex, session_rules, routes, values }),
            environment,
            profiles: std::iter::once(default).chain(named).collect(),
            relay: relay::original(&original),
            client,
            drain_auth: drain_auth(&original),
            warnings,
        })
    }
}

fn read(path: &Path, problems: &mut Vec<String>) -> Map<String, Value> {
    or_report(yaml::read_file(path), problems)
}

fn or_report(read: Result<Map<String, Value>, String>, problems: &mut Vec<String>) -> Map<String, Value> {
    read.unwrap_or_else(|problem| {
        problems.push(problem);
        Map::new()
    })
}

/// A key of the original's file: at the root, else under `gateway:`.
fn lookup<'a>(original: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let nested = || original.get("gateway").and_then(|gateway| gateway.get(key));
    original.get(key).filter(|value| !value.is_null()).or_else(nested).filter(|value| !value.is_null())
}

fn multiplex(original: &Map<String, Value>, environment: &Environment, warnings: &mut Vec<String>) -> bool {
    let configured = lookup(original, "multiplex_profiles").and_then(as_flag).unwrap_or(false);
    let Some(word) = environment.multiplex.as_deref() else {
        return configured;
    };
    flag_word(word).unwrap_or_else(|| {
        warnings.push(format!("{MULTIPLEX} is neither true nor false; config.yaml applies"));
        configured
    })
}

fn session_rules(original: &Map<String, Value>) -> SessionRules {
    let flag = |key, default| lookup(original, key).and_then(as_flag).unwrap_or(default);
    SessionRules {
        group_sessions_per_user: flag("group_sessions_per_user", true),
        thread_sessions_per_user: flag("thread_sessions_per_user", false),
    }
}

/// The settings of the drain credential, without the secret.
fn drain_auth(original: &Map<String, Value>) -> DrainAuth {
    let auth = original.get("dashboard").and_then(|dashboard| dashboard.get("drain_auth"));
    let field = |key| auth.and_then(|auth| auth.get(key));
    let scope = field("scope").and_then(Value::as_str).map(str::trim).filter(|scope| !scope.is_empty());
    let min_chars = field("min_secret_chars").and_then(Value::as_u64).and_then(|chars| usize::try_from(chars).ok());
    DrainAuth {
        secret: None,
        scope: scope.unwrap_or("drain").to_owned(),
        // The setting can only raise the minimum.
        min_chars: min_chars.unwrap_or_default().max(MIN_SECRET_CHARS),
    }
}

fn drain_secret(home: &Path, environment: &Environment) -> Option<SecretString> {
    // As in the original, the home's `.env` overrides the environment of the process.
    let full = |secret: &&SecretString| !secret.expose_secret().trim().is_empty();
    env_file_of(home).get(DRAIN_SECRET).filter(full).cloned().or_else(|| environment.drain_secret.clone())
}
