//! The one reader of the process environment and of the two YAML files.
//!
//! `config.yaml` is the original's and only read; `caduceus.yaml` beside it is ours. Everything wrong with them is
//! collected, so that a person mends it all at once.

mod agent;
mod environment;
mod home;
mod link;
mod notices;
mod original;
mod profiles;
mod relay;
mod reload;
mod values;
mod yaml;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

pub use environment::Environment;
pub use home::find_home;
pub use relay::client_of_command;
pub use reload::{DirectoryState, Reading, Sources};
pub use values::{
    Busy, DrainAuth, HomeChannel, InboundSettings, Interrupted, ProfileSettings, Settings, SettingsError,
    SupervisionSettings, WhenRefused,
};

use crate::network::Network;
use crate::profile::agent::AgentSettings;
use crate::profile::name::ProfileName;
use crate::relay::policy::Relevance;
use crate::relay::route::Routes;
use crate::relay::session::SessionRules;
use caduceus_supervision::{Backoff, RestartPolicy};
use environment::{DRAIN_SECRET, MULTIPLEX};
use home::{FILE_NAME, ORIGINAL_FILE_NAME, env_file_of, solo_profile, usable};
use yaml::{Section, as_flag, flag_word};

/// How long a shutdown waits for turns: real turns run for minutes, and 60 s killed them.
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_mins(3);
/// 256 bits in url-safe base64.
const MIN_SECRET_CHARS: usize = 43;

impl Settings {
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
    fn read(home: &Path, environment: Arc<Environment>, last: Option<&Self>) -> Result<Self, SettingsError> {
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
        let named = if multiplex { profiles::named(&home, &agent, last) } else { Ok(Vec::new()) };
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
