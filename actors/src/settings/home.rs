//! The directory that settings are read from, and the names of its files.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::error::SettingsError;
use crate::files::{Symlinks, small};
use crate::profile::env_file::{self, EnvFile};
use caduceus_contract::profile_name::ProfileName;

/// The gateway's file in a home, and the original's.
pub(super) const FILE_NAME: &str = "caduceus.yaml";
pub(super) const ORIGINAL_FILE_NAME: &str = "config.yaml";

/// Finds the home: the given one, else `HERMES_HOME`, else `~/.hermes`.
#[must_use]
pub fn find_home(given: Option<PathBuf>, environment: &Environment) -> PathBuf {
    let named = |name| environment.globals.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    given
        .or_else(|| named("HERMES_HOME"))
        .or_else(|| named("HOME").map(|home| home.join(".hermes")))
        .unwrap_or_else(|| PathBuf::from(".hermes"))
}

/// The home as an absolute path, if it is usable.
pub(super) fn usable(home: &Path) -> Result<PathBuf, SettingsError> {
    let unusable = |reason: String| SettingsError::UnusableHome { path: home.to_owned(), reason };
    let found = home.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => SettingsError::NoHome(home.to_owned()),
        _ => unusable(error.to_string()),
    })?;
    match std::fs::read_dir(&found) {
        Ok(_) => Ok(found),
        Err(error) => Err(unusable(error.to_string())),
    }
}

/// The profile of a home of the form `…/profiles/<name>`.
pub(super) fn single_profile(home: &Path) -> Option<ProfileName> {
    let above = home.parent()?.file_name()?;
    let name = ProfileName::parse(home.file_name()?.to_str()?).ok()?;
    (above == "profiles" && !name.is_default()).then_some(name)
}

/// The present `.env` of a home; empty if none is readable.
pub(super) fn env_file_of(home: &Path) -> EnvFile {
    let read = small::read_text(&home.join(".env"), env_file::MAX_BYTES, Symlinks::Follow);
    read.map(|text| env_file::parse(&text)).unwrap_or_default()
}
