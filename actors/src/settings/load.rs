//! All settings of one gateway, and how they are read from the files of its home.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

use super::environment::{DRAIN_SECRET, Environment, MULTIPLEX};
use super::error::SettingsError;
use super::home::{FILE_NAME, ORIGINAL_FILE_NAME, env_file_of, solo_profile, usable};
use super::notices::{self, HomeChannel};
use super::profiles::{self, ProfileSettings};
use super::relay::{self, InboundSettings};
use super::yaml::{self, Section, as_flag, flag_word};
use super::{agent, link};
use crate::http_client::HttpClient;
use crate::network::Network;
use crate::profile::agent::AgentSettings;
use crate::profile::name::ProfileName;
use crate::relay::policy::Relevance;
use crate::relay::route::Routes;
use crate::relay::session::SessionRules;
use crate::relay::timings::LinkTimings;
use caduceus_supervision::{Backoff, RestartPolicy};

/// How long a shutdown waits for turns: real turns run for minutes, and 60 s killed them.
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_mins(3);
/// 256 bits in url-safe base64.
const MIN_SECRET_CHARS: usize = 43;

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

/// What happens to a message while its session is busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
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

    /// Reads the settings of `home`.
    ///
    /// # Errors
    /// [`SettingsError`]; a broken file of a *named* profile is not one, it degrades that profile.
    pub fn load(home: &Path, environment: impl Into<Arc<Environment>>) -> Result<Self, SettingsError> {
        let mut settings = Self::read(home, environment.into(), None)?;
        settings.drain_auth.secret = drain_secret(&settings.home, &settings.environment);
        Ok(settings)
    }

    /// Reads everything but the secret that lets its holder drain. A profile whose own file is broken keeps what it had in
    /// `last`.
    pub(super) fn read(home: &Path, environment: Arc<Environment>, last: Option<&Self>) -> Result<Self, SettingsError> {
        let home = usable(home)?;
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let original = taken(yaml::read_original(&home.join(ORIGINAL_FILE_NAME)), &mut problems);
        let ours = read(&home.join(FILE_NAME), &mut problems);

        let solo = solo_profile(&home);
        let multiplex = solo.is_none() && multiplex(&original, &environment, &mut warnings);
        let (routes, skipped) = Routes::parse(lookup(&original, "profile_routes").unwrap_or(&Value::Null));
        warnings.extend(skipped.iter().map(ToString::to_string));

        let mut root = Section::root(ours, &mut problems);
        let mut http = root.section("http");
        let bind = http.address("bind").unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 8652)));
        let also_called = http.texts("names").unwrap_or_default();
        let trusted_proxies = trusted_proxies(&mut http);
        http.finish();
        let mut sessions = root.section("sessions");
        let busy = sessions.word(
            "busy",
            &[("queue", Busy::Queue), ("interrupt", Busy::Interrupt), ("steer", Busy::Steer), ("reject", Busy::Reject)],
        );
        sessions.finish();
        let mut turns = root.section("turns");
        let max_concurrent_turns =
            turns.count("max_concurrent").map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        if max_concurrent_turns == Some(0) {
            turns.wrong::<()>("max_concurrent", "at least 1");
        }
        let interrupted = turns.word(
            "interrupted",
            &[("ask", Interrupted::Ask), ("rerun", Interrupted::Rerun), ("drop", Interrupted::Drop)],
        );
        turns.finish();
        let mut drain = root.section("drain");
        let refused = drain.word("refused", &[("notice", WhenRefused::Notice), ("hold", WhenRefused::Hold)]);
        let drain_timeout = drain.seconds("timeout_s");
        drain.finish();
        let home_channel = notices::read(&mut root);
        let supervision = supervision(&mut root);
        let mut section = root.section("relay");
        let link_timings = link::read(&mut section);
        let relay = relay::ours(&mut section);
        section.finish();
        let agent = agent::read(&mut root);
        root.finish();
        let agent = agent.unwrap_or(AgentSettings::None);
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
            name: solo.unwrap_or_else(ProfileName::default_profile),
            home: home.clone(),
            agent,
            relevance: Relevance::read(&original),
            own_link: false,
            problems: Vec::new(),
        };
        Ok(Self {
            drain_auth: drain_auth(&original),
            relay: relay::original(&original),
            inbound: relay.inbound,
            trust: relay::client(&home, &environment, relay.ca_file, &mut warnings),
            link_timings,
            session_rules: session_rules(&original),
            profiles: std::iter::once(default).chain(named).collect(),
            multiplex,
            bind,
            names: also_called,
            trusted_proxies,
            busy: busy.unwrap_or_default(),
            routes,
            max_concurrent_turns: max_concurrent_turns.unwrap_or(64),
            interrupted: interrupted.unwrap_or_default(),
            refused: refused.unwrap_or_default(),
            home_channel,
            drain_timeout: drain_timeout.unwrap_or(DEFAULT_DRAIN_TIMEOUT),
            supervision,
            warnings,
            environment,
            home,
        })
    }
}

fn read(path: &Path, problems: &mut Vec<String>) -> Map<String, Value> {
    taken(yaml::read_file(path), problems)
}

fn taken(read: Result<Map<String, Value>, String>, problems: &mut Vec<String>) -> Map<String, Value> {
    read.unwrap_or_else(|problem| {
        problems.push(problem);
        Map::new()
    })
}

fn trusted_proxies(http: &mut Section<'_>) -> Vec<Network> {
    let texts = http.texts("trusted_proxies").unwrap_or_default();
    let networks: Result<Vec<_>, _> = texts.iter().map(|text| text.parse()).collect();
    networks
        .ok()
        .or_else(|| http.wrong("trusted_proxies", "addresses or networks such as 10.0.0.0/8"))
        .unwrap_or_default()
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
        warnings.push(format!("{MULTIPLEX} is neither a clear yes nor a clear no; config.yaml decides"));
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

/// Who may drain, the secret apart.
fn drain_auth(original: &Map<String, Value>) -> DrainAuth {
    let auth = original.get("dashboard").and_then(|dashboard| dashboard.get("drain_auth"));
    let field = |key| auth.and_then(|auth| auth.get(key));
    let scope = field("scope").and_then(Value::as_str).map(str::trim).filter(|scope| !scope.is_empty());
    let min_chars = field("min_secret_chars").and_then(Value::as_u64).and_then(|chars| usize::try_from(chars).ok());
    DrainAuth {
        secret: None,
        scope: scope.unwrap_or("drain").to_owned(),
        // The setting only raises the bar.
        min_chars: min_chars.unwrap_or_default().max(MIN_SECRET_CHARS),
    }
}

fn drain_secret(home: &Path, environment: &Environment) -> Option<SecretString> {
    // As in the original, the home's `.env` counts before the environment of the process.
    let full = |secret: &&SecretString| !secret.expose_secret().trim().is_empty();
    env_file_of(home).get(DRAIN_SECRET).filter(full).cloned().or_else(|| environment.drain_secret.clone())
}

fn supervision(root: &mut Section<'_>) -> SupervisionSettings {
    /// The kinds of actor whose policy can be set.
    const KINDS: [&str; 10] =
        ["default", "ledger", "status", "profile", "drain", "honcho", "dispatch", "relay", "config", "http"];
    let mut section = root.section("supervision");
    let unresponsive_after = section.millis("wedge_after_ms").unwrap_or(Duration::from_secs(5));
    let mut policies = BTreeMap::new();
    let mut kinds = section.section("policies");
    for kind in KINDS {
        let default = policies.get("default").copied().unwrap_or_else(RestartPolicy::default);
        policies.insert(kind.to_owned(), policy(&mut kinds, kind, default));
    }
    kinds.finish();
    section.finish();
    SupervisionSettings { unresponsive_after, policies }
}

fn policy(kinds: &mut Section<'_>, kind: &'static str, default: RestartPolicy) -> RestartPolicy {
    let mut section = kinds.section(kind);
    let max_restarts = section.count("max_restarts").map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    let window = section.seconds("window_s");
    let floor = section.millis("backoff_floor_ms").unwrap_or(default.backoff.floor());
    let ceiling = section.millis("backoff_ceiling_ms").unwrap_or(default.backoff.ceiling().max(floor));
    let backoff = Backoff::new(floor, ceiling).ok();
    if backoff.is_none() {
        section.wrong::<()>("backoff_floor_ms", "no more than backoff_ceiling_ms");
    }
    let healthy_after = section.seconds("healthy_after_s");
    section.finish();
    RestartPolicy {
        max_restarts: max_restarts.unwrap_or(default.max_restarts),
        window: window.unwrap_or(default.window),
        backoff: backoff.unwrap_or(default.backoff),
        healthy_after: healthy_after.unwrap_or(default.healthy_after),
        when_exceeded: default.when_exceeded,
    }
}
