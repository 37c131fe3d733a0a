//! The named profiles of a home.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use super::agent;
use super::home::{FILE_NAME, ORIGINAL_FILE_NAME, env_file_of};
use super::yaml::{self, Section};
use crate::files::workers::Owner;
use crate::files::{FileWorker, NoAnswer, Purpose};
use crate::profile::agent::AgentSettings;
use crate::relay::policy::Relevance;
use caduceus_contract::profile_name::ProfileName;

/// The directory of the homes of the named profiles.
pub(super) const DIRECTORY: &str = "profiles";

/// Timeout for reading the files of one home, or the list of homes. A home whose disk hangs is degraded, and delays no other for
/// longer than this.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The settings of one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileSettings {
    /// Its name.
    pub name: ProfileName,
    /// Its directory, which holds its `.env`.
    pub home: PathBuf,
    /// The configuration of its agent.
    pub agent: AgentSettings,
    /// Which messages may wake it.
    pub relevance: Relevance,
    /// Whether its `.env` has all that its own link needs: address, id and secret.
    pub own_link: bool,
    /// The mistakes in its own configuration, one sentence each: with any, it starts degraded.
    pub problems: Vec<String>,
}

/// The home of a named profile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProfileHome {
    pub(super) name: ProfileName,
    pub(super) home: PathBuf,
    /// A link, which may lead to no directory.
    is_link: bool,
}

/// The named profiles of `home`, sorted. A profile with a broken file of its own, or whose disk does not answer, starts
/// degraded; if it was served in `last`, it keeps its agent.
///
/// # Errors
/// One sentence: the directory exists and cannot be read, so the profiles to serve are unknown.
pub(super) fn named(
    home: &Path,
    default: &AgentSettings,
    last: &[ProfileSettings],
) -> Result<Vec<ProfileSettings>, String> {
    let place = home.join(DIRECTORY);
    let found = homes(&place).map_err(|error| format!("{}: cannot be read: {error}", place.display()))?;
    let had = |name: &ProfileName| last.iter().find(|profile| profile.name == *name);
    let read = each(found, Files::read);
    let served = read.into_iter().filter_map(|(ProfileHome { name, home, .. }, files)| {
        let before = had(&name);
        match files {
            Ok(files) => Some(named_profile(name, home, default, before.map(|profile| &profile.agent), files?)),
            Err(error) => Some(unanswered(name, home, before, &error)),
        }
    });
    Ok(served.collect())
}

/// Homes below `place`, sorted by name. Empty if `place` does not exist or is no directory.
pub(super) fn homes(place: &Path) -> io::Result<Vec<ProfileHome>> {
    let directory = place.to_owned();
    let listing = FileWorker::of(place, Purpose::Settings, Owner::Profile).begin(move || list(&directory));
    listing.wait(Instant::now() + TIMEOUT).map_err(|error| io::Error::new(ErrorKind::TimedOut, error))?
}

fn list(place: &Path) -> io::Result<Vec<ProfileHome>> {
    let entries = match std::fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_str().and_then(|name| ProfileName::parse(name).ok());
        let Some(name) = name.filter(|name| !name.is_default()) else { continue };
        // The target of a link is read with the rest of that home: its disk may not answer.
        let kind = entry.file_type()?;
        if kind.is_dir() || kind.is_symlink() {
            found.push(ProfileHome { name, home: entry.path(), is_link: kind.is_symlink() });
        }
    }
    found.sort();
    Ok(found)
}

/// Runs `read` in every home concurrently, each on its own thread, which may outlast the timeout.
pub(super) fn each<T: Send + 'static>(
    homes: Vec<ProfileHome>,
    read: impl Fn(&ProfileHome) -> T + Clone + Send + 'static,
) -> Vec<(ProfileHome, Result<T, NoAnswer>)> {
    let begun = homes.into_iter().map(|home| {
        let (place, read) = (home.clone(), read.clone());
        let worker = FileWorker::of(&home.home, Purpose::Settings, Owner::Profile);
        (home, worker.begin(move || read(&place)))
    });
    let begun: Vec<_> = begun.collect();
    let deadline = Instant::now() + TIMEOUT;
    begun.into_iter().map(|(home, pending)| (home, pending.wait(deadline))).collect()
}

impl ProfileHome {
    /// Whether it is a home. Blocks.
    pub(super) fn is_directory(&self) -> bool {
        !self.is_link || self.home.is_dir()
    }
}

/// The files of one home from which settings are read.
struct Files {
    own: Result<Map<String, Value>, String>,
    original: Map<String, Value>,
    own_link: bool,
}

impl Files {
    /// Reads them; `None` if the directory does not exist. Blocks.
    fn read(home: &ProfileHome) -> Option<Self> {
        if !home.is_directory() {
            return None;
        }
        let home = &home.home;
        let env = env_file_of(home);
        let held = |name: &str| env.get(name).is_some_and(|value| !value.expose_secret().trim().is_empty());
        Some(Self {
            own: yaml::read_file(&home.join(FILE_NAME)),
            // The original's file of a profile is for the original; here a broken one counts as empty.
            original: yaml::read_original(&home.join(ORIGINAL_FILE_NAME)).unwrap_or_default(),
            own_link: ["GATEWAY_RELAY_URL", "GATEWAY_RELAY_ID", "GATEWAY_RELAY_SECRET"].into_iter().all(held),
        })
    }
}

fn named_profile(
    name: ProfileName,
    home: PathBuf,
    default: &AgentSettings,
    before: Option<&AgentSettings>,
    files: Files,
) -> ProfileSettings {
    let mut problems = Vec::new();
    let own = files.own.unwrap_or_else(|problem| {
        problems.push(problem);
        Map::new()
    });
    let mut root = Section::root(own, &mut problems);
    let agent = agent::read(&mut root);
    root.finish();
    // A profile with a broken file must not run under the home's agent instead.
    let broken = || before.cloned().unwrap_or(AgentSettings::NONE);
    let agent = agent.unwrap_or_else(|| if problems.is_empty() { default.clone() } else { broken() });
    let relevance = Relevance::read(&files.original);
    ProfileSettings { name, home, agent, relevance, own_link: files.own_link, problems }
}

/// A profile whose disk does not answer.
fn unanswered(name: ProfileName, home: PathBuf, before: Option<&ProfileSettings>, error: &NoAnswer) -> ProfileSettings {
    let unknown = || ProfileSettings {
        name,
        home,
        agent: AgentSettings::NONE,
        relevance: Relevance::read(&Map::new()),
        own_link: false,
        problems: Vec::new(),
    };
    ProfileSettings { problems: vec![error.to_string()], ..before.cloned().unwrap_or_else(unknown) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::mpsc;

    use super::*;
    use crate::settings::{Environment, Settings};

    #[test]
    fn a_home_whose_disk_does_not_answer_is_degraded_alone_and_keeps_its_agent() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(ORIGINAL_FILE_NAME), "gateway: {multiplex_profiles: true}\n").unwrap();
        for name in ["hung", "working"] {
            let own = home.path().join(DIRECTORY).join(name);
            std::fs::create_dir_all(&own).unwrap();
            std::fs::write(own.join(FILE_NAME), "agent: {backend: echo}\n").unwrap();
        }
        let load = || Settings::load(home.path(), Environment::default()).unwrap();
        let before = load();
        let hung = before.home.join(DIRECTORY).join("hung");
        // A hung file system blocks the thread that reads it.
        let (release, released) = mpsc::channel::<()>();
        let worker = FileWorker::of(&hung, Purpose::Settings, Owner::Profile);
        assert!(worker.post(move || {
            let _ = released.recv();
        }));
        let problems = |settings: &Settings| settings.profiles.iter().map(|one| one.problems.len()).collect::<Vec<_>>();
        let fresh = load();
        assert_eq!((problems(&fresh), &fresh.profiles[1].agent), (vec![0, 1, 0], &AgentSettings::NONE));
        assert!(fresh.profiles[1].problems[0].contains("does not answer"), "{:?}", fresh.profiles[1].problems);
        let known = named(&before.home, &AgentSettings::NONE, &before.profiles).unwrap();
        assert_eq!(
            (known[0].problems.len(), &known[0].agent),
            (1, &AgentSettings::built_in("echo")),
            "it keeps its agent"
        );
        drop(release);
        assert_eq!(problems(&load()), [0, 0, 0]);
    }

    #[test]
    fn a_link_to_a_directory_is_a_home_and_one_to_a_file_or_to_nothing_is_not() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("elsewhere/home")).unwrap();
        std::fs::write(place.path().join("elsewhere/file"), "").unwrap();
        let profiles = place.path().join(DIRECTORY);
        std::fs::create_dir(&profiles).unwrap();
        for (name, target) in [("linked", "home"), ("file", "file"), ("nothing", "nothing")] {
            symlink(place.path().join("elsewhere").join(target), profiles.join(name)).unwrap();
        }
        let found = named(place.path(), &AgentSettings::built_in("echo"), &[]).unwrap();
        assert_eq!(found.iter().map(|profile| profile.name.as_str()).collect::<Vec<_>>(), ["linked"]);
    }
}
