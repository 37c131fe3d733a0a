//! Gathers the facts for `evaluate`, which derives the findings. Nothing is written.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::rt::System;
use actix_web::rt::time::timeout;
use caduceus_actors::files::workers::{Owner, TIMEOUT};
use caduceus_actors::files::{FileWorker, Purpose};
use caduceus_actors::honcho::inspect::{self, GrantInspection};
use caduceus_actors::honcho::location::{HonchoProfile, is_there};
use caduceus_actors::honcho::refresh::unix_now_ms;
use caduceus_actors::ledger::{peek, place};
use caduceus_actors::profile::inspect::inspect;
use caduceus_actors::profile::strength;
use caduceus_actors::relay::probe::{ProbeResult, probe};
use caduceus_actors::settings::{Environment, ProfileSettings, Settings, SettingsError};
use caduceus_contract::profile_name::ProfileName;
use rustix::fs::Access;
use rustix::net::{AddressFamily, SocketType};
use secrecy::ExposeSecret as _;

use super::agent::AgentFact;
use super::facts::{
    DrainFact, HomeFact, HomeFacts, LedgerFact, LinkFact, NetworkFact, ProfileFact, Sent, UnservedFact,
};
use super::{agent, events};
use crate::cli::each_home::{each_home, is_directory};
use crate::cli::env_lines;
use crate::cli::files::{FileFact, of_ledger, of_profile};
use crate::cli::lock;

/// Longest wait for the connector's answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Watchers of a gateway besides one a profile: for the markers of drains, and for the grants.
const OTHER_WATCHERS: usize = 2;

/// Gathers the facts about `home`.
pub(super) fn facts(home: &Path, environment: Environment) -> HomeFacts {
    let mut facts = HomeFacts::default();
    let settings = match Settings::load(home, environment) {
        Ok(settings) => Some(settings),
        Err(SettingsError::NoHome(_)) => {
            facts.home = HomeFact::Missing;
            return facts;
        }
        Err(SettingsError::UnusableHome { reason, .. }) => {
            facts.home = HomeFact::Unusable(reason);
            return facts;
        }
        Err(SettingsError::Wrong(errors)) => {
            facts.errors = errors;
            None
        }
    };
    facts.home = HomeFact::There {
        mode: fs::metadata(home).map_or(0, |found| found.permissions().mode() & 0o777),
        writable: rustix::fs::access(home, Access::WRITE_OK | Access::EXEC_OK).is_ok(),
    };
    facts.lock = lock::is_held(home).map_err(|error| error.to_string());
    facts.ledger = ledger(home);
    facts.files = of_ledger(home);
    match settings {
        Some(settings) => of_settings(&mut facts, settings),
        None => facts.files.extend(of_profile(home)),
    }
    let mut watched: Vec<PathBuf> = facts.profiles.iter().map(|profile| profile.home.clone()).collect();
    watched.extend(std::iter::repeat_n(home.to_owned(), OTHER_WATCHERS));
    if facts.lock == Ok(true) {
        watched.truncate(1);
    }
    let watching = FileWorker::of(home, Purpose::Watch, Owner::Gateway).begin(move || events::inspect(&watched));
    facts.events = watching.wait(Instant::now() + TIMEOUT).ok().flatten();
    facts
}

fn of_settings(facts: &mut HomeFacts, mut settings: Settings) {
    facts.warnings = std::mem::take(&mut settings.warnings);
    facts.proxies = settings.client.describe_proxies();
    let (profiles, files): (Vec<_>, Vec<_>) = each_profile(&settings).into_iter().unzip();
    facts.profiles = profiles;
    let mut files: Vec<FileFact> = files.into_iter().flatten().collect();
    if settings.relay.keys().any(|name| name.ends_with("SECRET") || name.ends_with("KEY")) {
        files.extend(FileFact::read(settings.home.join("config.yaml")));
    }
    for file in files {
        if !facts.files.contains(&file) {
            facts.files.push(file);
        }
    }
    // A second link with the same credentials supersedes the first.
    let held = facts.lock != Ok(false);
    facts.link = Some(link(&settings, held));
    facts.unserved = unserved(&settings);
    let drain = settings.take_drain_auth();
    facts.drain = Some(match drain.secret {
        None => DrainFact::None,
        Some(secret) => match strength::assess(secret.expose_secret().trim(), drain.min_chars) {
            Ok(()) => DrainFact::Strong,
            Err(weakness) => DrainFact::Weak(weakness),
        },
    });
    facts.network = NetworkFact {
        unusable: if held { Vec::new() } else { unusable(&settings) },
        public_without_secret: !settings.values.http.bind.ip().to_canonical().is_loopback()
            && matches!(facts.drain, Some(DrainFact::None)),
    };
}

/// Binds each address for a moment, as a gateway would.
fn unusable(settings: &Settings) -> Vec<(&'static str, SocketAddr, String)> {
    let wanted =
        [("http.bind", Some(settings.values.http.bind)), ("relay.inbound.bind", settings.values.relay.inbound.bind)];
    let wanted = wanted.into_iter().filter_map(|(key, address)| Some((key, address?)));
    wanted.filter_map(|(key, address)| Some((key, address, take(address).err()?.to_string()))).collect()
}

/// Binds without listening: that conflicts with a listener, and not with another doctor.
fn take(address: SocketAddr) -> std::io::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(rustix::net::bind(&socket, &address)?)
}

fn unserved(settings: &Settings) -> UnservedFact {
    let served = |name: &ProfileName| settings.profiles.iter().any(|profile| profile.name == *name);
    let solo = settings.profiles.first().is_some_and(|profile| !profile.name.is_default());
    if settings.multiplex {
        let astray = settings.routes.iter().filter(|route| route.is_enabled() && !served(&route.profile));
        let routes = astray.map(|route| (route.name.clone(), route.profile.to_string())).collect();
        return UnservedFact { routes, ..UnservedFact::default() };
    }
    let entries = fs::read_dir(settings.home.join("profiles")).into_iter().flatten().flatten();
    let named = entries.filter(|entry| !solo && may_be_a_home(entry));
    let named = named.filter_map(|entry| ProfileName::parse(&entry.file_name().into_string().ok()?).ok());
    let mut profiles: Vec<String> = named.filter(|name| !name.is_default()).map(|name| name.to_string()).collect();
    profiles.sort_unstable();
    UnservedFact { profiles, ..UnservedFact::default() }
}

fn each_profile(settings: &Settings) -> Vec<(ProfileFact, Vec<FileFact>)> {
    let shared = Arc::new(settings.clone());
    let inspected = each_home(
        &settings.profiles,
        |profile| &profile.home,
        move |profile| {
            let files = of_profile(&profile.home).into_iter().chain(grant_file(profile, &shared)).collect();
            (of_profile_settings(profile, &shared), files)
        },
    );
    let found = settings.profiles.iter().zip(inspected).map(|(profile, found)| {
        found.unwrap_or_else(|error| (unanswered(profile, settings, error.to_string()), Vec::new()))
    });
    found.collect()
}

/// The facts about a profile whose disk does not answer.
fn unanswered(profile: &ProfileSettings, settings: &Settings, why: String) -> ProfileFact {
    ProfileFact {
        name: profile.name.to_string(),
        home: profile.home.clone(),
        closed: settings.multiplex || profile.home != settings.home,
        problems: profile.problems.iter().filter(|problem| **problem != why).cloned().collect(),
        agent: AgentFact::NoProcess,
        env_error: Some(why.clone()),
        env: Vec::new(),
        gateway: None,
        missing: Vec::new(),
        grant: GrantInspection::unanswered(&honcho_profile(profile, settings), why),
    }
}

fn of_profile_settings(profile: &ProfileSettings, settings: &Settings) -> ProfileFact {
    let inspection = inspect(profile, settings);
    let path = settings.environment.globals.get("PATH").map(String::as_str);
    ProfileFact {
        name: profile.name.to_string(),
        home: profile.home.clone(),
        closed: settings.multiplex || profile.home != settings.home,
        problems: profile.problems.clone(),
        agent: agent::inspect(&profile.agent, &profile.home, &inspection, path),
        env: env_lines::findings(&inspection.own, &inspection.missing),
        env_error: inspection.problem,
        gateway: inspection.gateway,
        missing: inspection.missing,
        grant: inspect::inspect(&honcho_profile(profile, settings), unix_now_ms()),
    }
}

fn grant_file(profile: &ProfileSettings, settings: &Settings) -> Option<FileFact> {
    FileFact::read(honcho_profile(profile, settings).homes.locate(is_there))
}

fn honcho_profile(profile: &ProfileSettings, settings: &Settings) -> HonchoProfile {
    HonchoProfile::new(profile.name.clone(), &profile.home, &settings.home, &settings.environment)
}

fn ledger(home: &Path) -> LedgerFact {
    let mut set_aside: Vec<String> =
        [place::PATH, place::FORMER_PATH].map(|path| home.join(path)).iter().flat_map(|path| set_aside(path)).collect();
    set_aside.sort_unstable();
    let path = place::find(home);
    let peek = peek::peek(&path).map_err(|error| error.to_string());
    LedgerFact { path, peek, second: place::second(home), set_aside }
}

/// The paths of corrupt ledgers that were set aside beside `ledger`.
fn set_aside(ledger: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = ledger.parent().and_then(|directory| fs::read_dir(directory).ok()).into_iter().flatten().flatten();
    let prefix = format!("{}.damaged-", ledger.file_name().unwrap_or_default().display());
    let is_ledger =
        move |name: &str| name.starts_with(&prefix) && !place::COMPANIONS.iter().any(|ending| name.ends_with(ending));
    entries
        .filter(move |entry| entry.file_name().to_str().is_some_and(&is_ledger))
        .map(|entry| entry.path().display().to_string())
}

/// Where a link leads may be a disk that does not answer; that counts as a home.
fn may_be_a_home(entry: &fs::DirEntry) -> bool {
    let Ok(kind) = entry.file_type() else { return false };
    if kind.is_symlink() { is_directory(&entry.path()).unwrap_or(true) } else { kind.is_dir() }
}

/// Dials the process's own link: a real upgrade, unless a gateway holds the home.
fn link(settings: &Settings, held: bool) -> LinkFact {
    let inspection = inspect(&settings.profiles[0], settings);
    let credentials = ["GATEWAY_RELAY_ID", "GATEWAY_RELAY_SECRET"].iter().all(|name| inspection.has_setting(name));
    let Some(url) = inspection.relay_url() else {
        return LinkFact::NotSet { credentials };
    };
    if let Err(why) = url.dialable() {
        return LinkFact::Undialable(why.to_string());
    }
    // Without its path, which may hold a secret.
    let place: String = url.dial().splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    let token = if held { None } else { inspection.upgrade_token() };
    let sent = match (&token, credentials && held) {
        (Some(_), _) => Sent::Token,
        (None, true) => Sent::Withheld,
        (None, false) => Sent::None,
    };
    let answer = System::new().block_on(async { timeout(PROBE_TIMEOUT, probe(&settings.client, &url, token)).await });
    let silent = |_| ProbeResult::Unreachable(format!("it did not answer in {} s", PROBE_TIMEOUT.as_secs()));
    LinkFact::Probed { place, credentials, sent, answer: answer.unwrap_or_else(silent) }
}
