//! The named profiles of a home.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::yaml::{self, Section};
use super::{FILE_NAME, ORIGINAL_FILE_NAME, ProfileSettings, Settings, agent, env_file_of, read};
use crate::profile::agent::AgentSettings;
use crate::profile::name::ProfileName;
use crate::relay::policy::Relevance;

/// The directory that holds the homes of the named profiles.
pub(super) const DIRECTORY: &str = "profiles";

/// The named profiles of `home`, sorted. One with a broken file of its own comes up degraded; if it was served in `last` it
/// keeps the agent that it had.
///
/// # Errors
/// One sentence: the directory is there and cannot be read, so nobody can say who is to be served.
pub(super) fn named(
    home: &Path,
    default: &AgentSettings,
    last: Option<&Settings>,
) -> Result<Vec<ProfileSettings>, String> {
    let place = home.join(DIRECTORY);
    let found = homes(&place).map_err(|error| format!("{}: cannot be read: {error}", place.display()))?;
    let had = |name: &ProfileName| last?.profiles.iter().find(|profile| profile.name == *name);
    let served = |(name, home): (ProfileName, PathBuf)| {
        let before = had(&name).map(|profile| &profile.agent);
        named_profile(name, home, default, before)
    };
    Ok(found.into_iter().map(served).collect())
}

/// Names and homes below `place`, sorted by name. One that is not there, or is no directory, holds none.
pub(super) fn homes(place: &Path) -> io::Result<Vec<(ProfileName, PathBuf)>> {
    let entries = match std::fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_str().and_then(|name| ProfileName::parse(name).ok());
        if let Some(name) = name.filter(|name| !name.is_default())
            && entry.path().is_dir()
        {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

fn named_profile(
    name: ProfileName,
    home: PathBuf,
    default: &AgentSettings,
    before: Option<&AgentSettings>,
) -> ProfileSettings {
    let mut problems = Vec::new();
    let own = read(&home.join(FILE_NAME), &mut problems);
    let mut root = Section::root(own, &mut problems);
    let agent = agent::read(&mut root);
    root.finish();
    // With a broken file of its own it must not run under the home's agent instead.
    let broken = || before.cloned().unwrap_or(AgentSettings::None);
    let agent = agent.unwrap_or_else(|| if problems.is_empty() { default.clone() } else { broken() });
    // The original's file of a profile serves the original; one that is broken is no trouble of ours.
    let relevance = Relevance::read(&yaml::read_original(&home.join(ORIGINAL_FILE_NAME)).unwrap_or_default());
    let own = env_file_of(&home);
    let held = |name: &str| own.get(name).is_some_and(|value| !value.expose_secret().trim().is_empty());
    let own_link = ["GATEWAY_RELAY_URL", "GATEWAY_RELAY_ID", "GATEWAY_RELAY_SECRET"].into_iter().all(held);
    ProfileSettings { name, home, agent, relevance, own_link, problems }
}
