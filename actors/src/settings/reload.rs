//! Reads the settings again while the gateway runs: when, and what happens with mistakes. Blocks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::error::SettingsError;
use super::home::{FILE_NAME, ORIGINAL_FILE_NAME};
use super::key_table::{Applies, KeyTable as _};
use super::load::{OpenSettings, Settings};
use super::profiles::{self, ProfileSettings};
use super::values::Values;
use crate::files::FileStamp;

/// How long the files must be unchanged before they are read. An editor that writes in place empties the file first, and an empty
/// file is valid and serves no named profile.
const SETTLE_TIME: Duration = Duration::from_millis(100);
/// Checks of files that keep changing, before they are read as they are.
const MAX_CHECKS: u32 = 10;
/// The name reported when anything of the relay changed, including the proxies and the authorities of HTTP calls.
const RELAY: &str = "relay";

/// The metadata of every file that settings are read from, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    files: BTreeMap<PathBuf, FileStamp>,
    directories: BTreeMap<PathBuf, DirectoryState>,
}

/// Which directory is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryState {
    /// None.
    Missing,
    /// The one with this device and inode number.
    There(u64, u64),
    /// Its disk does not answer.
    NoAnswer,
}

impl From<FileStamp> for DirectoryState {
    fn from(stamp: FileStamp) -> Self {
        match stamp {
            FileStamp::Present { device, inode, .. } => Self::There(device, inode),
            FileStamp::Missing | FileStamp::Dangling | FileStamp::Unreachable(_) => Self::Missing,
        }
    }
}

/// The result of reading the files.
#[derive(Debug)]
pub struct Reading {
    /// The metadata of the files.
    pub sources: Sources,
    /// The settings from now on.
    pub settings: Settings,
    /// The mistakes in the home's own files, one sentence each: with any, the last valid content stays in force.
    pub problems: Vec<String>,
}

impl Sources {
    /// Reads the metadata of the files of `home`, and of every profile whose disk answers. Blocks.
    #[must_use]
    pub fn read(home: &Path) -> Self {
        Self::examine(home, &[FILE_NAME, ORIGINAL_FILE_NAME])
    }

    /// The same of the directories only.
    #[must_use]
    pub fn directories_of(home: &Path) -> Self {
        Self::examine(home, &[])
    }

    fn examine(home: &Path, files: &'static [&'static str]) -> Self {
        let place = home.join(profiles::DIRECTORY);
        let mut sources = Self::default();
        for file in files.iter().map(|file| home.join(file)) {
            let stamp = FileStamp::read(&file);
            sources.files.insert(file, stamp);
        }
        sources.directories.insert(home.to_owned(), FileStamp::read(home).into());
        let named = match profiles::homes(&place) {
            Ok(named) => {
                sources.directories.insert(place.clone(), FileStamp::read(&place).into());
                named
            }
            Err(error) => {
                sources.files.insert(place.clone(), FileStamp::Unreachable(error.kind()));
                sources.directories.insert(place, DirectoryState::NoAnswer);
                Vec::new()
            }
        };
        let metadata = profiles::each(named, |profile| {
            let stamps = || files.iter().map(|file| FileStamp::read(&profile.home.join(file))).collect();
            profile.is_directory().then(|| (FileStamp::read(&profile.home).into(), stamps()))
        });
        for (profile, metadata) in metadata {
            let unanswered =
                || Some((DirectoryState::NoAnswer, vec![FileStamp::Unreachable(ErrorKind::TimedOut); files.len()]));
            let Some((directory, stamps)): Option<(_, Vec<_>)> = metadata.unwrap_or_else(|_| unanswered()) else {
                continue;
            };
            for (file, stamp) in files.iter().zip(stamps) {
                sources.files.insert(profile.home.join(file), stamp);
            }
            sources.directories.insert(profile.home, directory);
        }
        sources
    }

    /// Whether every file and directory could be examined.
    #[must_use]
    pub fn are_readable(&self) -> bool {
        let unreachable = |stamp: &FileStamp| matches!(stamp, FileStamp::Unreachable(_));
        !self.files.values().any(unreachable)
            && self.directories.values().all(|place| *place != DirectoryState::NoAnswer)
    }

    /// The directories that contain the files, or may contain them later.
    pub fn directories(&self) -> impl Iterator<Item = (&Path, DirectoryState)> {
        self.directories.iter().map(|(path, place)| (path.as_path(), *place))
    }
}

impl Settings {
    /// The sources of the settings of `home` in `directory` that are checked where there are no file events.
    #[must_use]
    pub fn files_in(home: &Path, directory: &Path) -> &'static [&'static str] {
        if directory == home {
            &[FILE_NAME, ORIGINAL_FILE_NAME, profiles::DIRECTORY]
        } else if directory == home.join(profiles::DIRECTORY) {
            &["."]
        } else {
            &[FILE_NAME, ORIGINAL_FILE_NAME]
        }
    }

    /// Which entries of `directory` are sources of the settings of `home`.
    pub fn concerns(home: &Path, directory: &Path) -> impl Fn(&OsStr) -> bool + use<> {
        let (is_home, is_place) = (directory == home, directory == home.join(profiles::DIRECTORY));
        move |name| {
            let ours = name == FILE_NAME || name == ORIGINAL_FILE_NAME;
            ours || is_place || (is_home && name == profiles::DIRECTORY)
        }
    }

    /// Reads the files again if their metadata is not that of `last`, once they stop changing.
    ///
    /// The environment of the process and the secret for draining stay as they were at start.
    #[must_use]
    pub fn reread(&self, last: &Sources) -> Option<Reading> {
        let mut sources = Sources::read(&self.home);
        if sources == *last {
            return None;
        }
        for _ in 0..MAX_CHECKS {
            sleep(SETTLE_TIME);
            let again = Sources::read(&self.home);
            if again == sources {
                break;
            }
            sources = again;
        }
        let (settings, problems) = self.reload();
        Some(Reading { sources, settings, problems })
    }

    fn reload(&self) -> (Self, Vec<String>) {
        let error = match Self::read(&self.home, self.environment.clone(), Some(self)) {
            Ok(settings) => return (settings, Vec::new()),
            Err(error) => error,
        };
        let mut problems = match error {
            SettingsError::Wrong(problems) => problems,
            unusable => vec![unusable.to_string()],
        };
        // With a mistake in the home's files, profiles are still added and removed.
        let own = self.profiles.iter().filter(|profile| profile.home == self.home).cloned();
        let mut settings = self.clone();
        let agent = own.clone().next().map(|profile| profile.agent);
        if let (true, Some(agent)) = (self.multiplex, agent)
            && let Ok(named) = profiles::named(&self.home, &agent, &self.profiles)
            && self.home.is_dir()
        {
            settings.profiles = own.chain(named).collect();
        }
        problems.dedup();
        (settings, problems)
    }

    /// Keys whose values are different in `now` and apply at the next start only.
    #[must_use]
    pub fn needs_restart(&self, now: &Self) -> Vec<&'static str> {
        let auth = |settings: &Self| (settings.drain_auth.scope.clone(), settings.drain_auth.min_chars);
        let own_links = |settings: &Self| {
            let own = settings.profiles.iter().filter(|profile| profile.own_link);
            own.map(|profile| profile.name.clone()).collect::<BTreeSet<_>>()
        };
        let mut keys = differing([("the relay of a profile", own_links(self) != own_links(now))]);
        keys.extend(self.values.changed(&now.values, Applies::AtStart));
        if self.client != now.client && !keys.contains(&RELAY) {
            keys.push(RELAY);
        }
        keys.extend(differing([("dashboard.drain_auth", auth(self) != auth(now))]));
        keys
    }

    /// The differences to `now`: keys of the home's files, and `profile NAME` for each profile added, removed or changed.
    #[must_use]
    pub fn changed(&self, now: &Self) -> Vec<String> {
        let keys = self.open.changed_at_once(&now.open).into_iter().chain(self.needs_restart(now)).map(str::to_owned);
        let here = self.changed_profiles(now).into_iter().map(|profile| &profile.name);
        let left: BTreeSet<_> = now.profiles.iter().map(|profile| &profile.name).collect();
        let gone = self.profiles.iter().map(|profile| &profile.name).filter(|name| !left.contains(name));
        keys.chain(here.chain(gone).map(|name| format!("profile {name}"))).collect()
    }

    /// The profiles of `now` that the change from these settings to `now` affects.
    #[must_use]
    pub fn changed_profiles<'a>(&self, now: &'a Self) -> Vec<&'a ProfileSettings> {
        let before: HashMap<_, _> = self.profiles.iter().map(|profile| (&profile.name, profile)).collect();
        let inherits = self.multiplex != now.multiplex || !relay_of(self).eq(relay_of(now));
        let differs = |profile: &&ProfileSettings| {
            before.get(&profile.name) != Some(profile) || (inherits && profile.home == now.home)
        };
        now.profiles.iter().filter(differs).collect()
    }
}

fn relay_of(settings: &Settings) -> impl Iterator<Item = (&'static str, &str)> {
    settings.relay.iter().map(|(name, value)| (*name, value.expose_secret()))
}

impl OpenSettings {
    /// Keys whose values are different in `now` and apply at once.
    #[must_use]
    pub fn changed_at_once(&self, now: &Self) -> Vec<&'static str> {
        let mut keys = differing([
            ("multiplex_profiles", self.multiplex != now.multiplex),
            ("session rules", self.session_rules != now.session_rules),
            ("profile_routes", self.routes != now.routes),
        ]);
        keys.extend(self.values.changed(&now.values, Applies::AtOnce));
        keys
    }

    /// These settings, with the values of `first`, those of the start, for the keys that apply at the next start only.
    #[must_use]
    pub fn in_force(&self, first: &Self) -> Self {
        let mut in_force = self.clone();
        in_force.values.keep(&first.values);
        in_force
    }
}

impl Values {
    fn changed(&self, now: &Self, when: Applies) -> impl Iterator<Item = &'static str> + use<> {
        self.changes(now).into_iter().filter_map(move |(key, applies)| (applies == when).then_some(key))
    }
}

fn differing<const N: usize>(keys: [(&'static str, bool); N]) -> Vec<&'static str> {
    keys.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::profile::agent::AgentSettings;
    use crate::settings::{Busy, Environment};

    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(ORIGINAL_FILE_NAME), "gateway: {multiplex_profiles: true}\n").unwrap();
        fs::write(home.path().join(FILE_NAME), "agent: {backend: echo}\nsessions: {busy: reject}\n").unwrap();
        fs::create_dir_all(home.path().join("profiles/work")).unwrap();
        home
    }

    fn load(home: &tempfile::TempDir) -> Settings {
        Settings::load(home.path(), Environment::default()).unwrap()
    }

    fn names(settings: &Settings) -> Vec<&str> {
        settings.profiles.iter().map(|profile| profile.name.as_str()).collect()
    }

    #[test]
    fn unchanged_files_are_not_read() {
        let home = home();
        let reading = load(&home).reread(&Sources::default()).unwrap();
        assert!(reading.settings.reread(&reading.sources).is_none());
        fs::create_dir(home.path().join("profiles/new")).unwrap();
        let reading = reading.settings.reread(&reading.sources).unwrap();
        assert_eq!(names(&reading.settings), ["default", "new", "work"]);
    }

    #[test]
    fn changes_are_named_by_key_and_by_profile() {
        let home = home();
        let before = load(&home);
        assert_eq!(before.changed(&load(&home)), Vec::<String>::new());
        fs::write(home.path().join(FILE_NAME), "agent: {backend: echo}\nsessions: {busy: queue}\nhttp: {names: [a]}\n")
            .unwrap();
        fs::write(home.path().join("profiles/work/caduceus.yaml"), "agent: {backend: none}\n").unwrap();
        fs::create_dir(home.path().join("profiles/new")).unwrap();
        let now = load(&home);
        assert_eq!(before.changed(&now), ["sessions.busy", "http.names", "profile new", "profile work"]);
        fs::remove_dir(home.path().join("profiles/new")).unwrap();
        assert_eq!(now.changed(&load(&home)), ["profile new"]);
    }

    #[test]
    fn with_an_invalid_file_of_the_home_its_last_content_stays_and_profiles_are_still_added_and_removed() {
        let home = home();
        let settings = load(&home);
        fs::write(home.path().join(FILE_NAME), "agent: [hunter2-secret").unwrap();
        fs::create_dir(home.path().join("profiles/new")).unwrap();
        fs::remove_dir(home.path().join("profiles/work")).unwrap();
        let (now, problems) = settings.reload();
        assert_eq!((now.values.sessions.busy, names(&now)), (Busy::Reject, vec!["default", "new"]));
        assert_eq!(now.profiles[1].agent, AgentSettings::built_in("echo"));
        assert!(problems.len() == 1 && problems[0].contains(FILE_NAME), "{problems:?}");
        assert!(!problems[0].contains("hunter2"), "{problems:?}");
    }

    #[test]
    fn an_invalid_file_of_a_profile_degrades_it_and_keeps_its_agent() {
        let home = home();
        let file = home.path().join("profiles/work/caduceus.yaml");
        fs::write(&file, "agent: {backend: exec, command: [run]}\n").unwrap();
        let settings = load(&home);
        fs::write(&file, "agent: {backend: exec, command: 7}\n").unwrap();
        let (now, problems) = settings.reload();
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(now.profiles[1].agent, settings.profiles[1].agent);
        assert!(!now.profiles[1].problems.is_empty());
        fs::remove_file(&file).unwrap();
        let (now, _) = now.reload();
        assert_eq!((&now.profiles[1].agent, now.profiles[1].problems.len()), (&AgentSettings::built_in("echo"), 0));
    }

    #[test]
    fn a_missing_home_removes_no_profile() {
        let home = home();
        let settings = load(&home);
        fs::rename(home.path(), home.path().with_extension("away")).unwrap();
        let (now, problems) = settings.reload();
        fs::rename(home.path().with_extension("away"), home.path()).unwrap();
        assert_eq!((names(&now), problems.len()), (vec!["default", "work"], 1));
    }

    #[test]
    fn a_file_that_is_being_written_is_read_when_it_is_complete() {
        let home = home();
        let settings = load(&home);
        let file = home.path().join(ORIGINAL_FILE_NAME);
        fs::write(&file, "").unwrap();
        let writer = std::thread::spawn(move || {
            sleep(SETTLE_TIME / 2);
            fs::write(file, "gateway: {multiplex_profiles: yes}\n").unwrap();
        });
        let reading = settings.reread(&Sources::default()).unwrap();
        writer.join().unwrap();
        assert_eq!(
            names(&reading.settings),
            ["default", "work"],
            "an empty file was read, which serves one profile only"
        );
    }
}
