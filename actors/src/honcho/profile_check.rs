//! A check of a profile's files, without any lock. Blocks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::HonchoFile;
use super::grant::{Grant, host_name};
use super::location::{FILE_NAME, HonchoProfile, is_there};
use super::lock::{is_held, read_notes, resolve};
use super::note::{PresentationVerdict, TokenNote, TokenOutcome, verdict};
use super::plan::{Doubt, FileReading};
use super::refresh::unix_now_ms;
use super::store;
use super::watch::WatchedFile;
use crate::error_chain::error_chain;
use crate::profile::redact::Redactor;
use caduceus_contract::profile_name::ProfileName;

/// The place of one grant: the file, and the host's name in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GrantLocation {
    // First, because many profiles share one file, and paths are compared by their parts.
    pub(super) host: String,
    pub(super) path: PathBuf,
}

/// The grant of one profile as it was seen.
#[derive(Debug)]
pub(super) struct ProfileReading {
    pub(super) profile: ProfileName,
    pub(super) place: GrantLocation,
    pub(super) seen: FileReading,
}

/// A check of one profile's file, and its possible places.
#[derive(Debug)]
pub(super) struct ProfileCheck {
    pub(super) reading: ProfileReading,
    /// The places to watch.
    pub(super) places: Vec<WatchedFile>,
}

/// Checks the profile's file.
pub(super) fn check_profile(profile: &HonchoProfile, retry_wait: Duration, redactor: &Redactor) -> ProfileCheck {
    let mut places = Vec::new();
    for candidate in profile.homes.candidates() {
        let target = resolve(&candidate).ok().filter(|target| *target != candidate);
        places.extend(std::iter::once(&candidate).chain(&target).map(|file| WatchedFile::of(file)));
    }
    let path = profile.homes.locate(is_there);
    let file = store::read(&path).map(|file| file.unwrap_or_else(HonchoFile::empty));
    let file = file.map_err(|error| error_chain(&error));
    // A place that cannot be read now is unchanged.
    if let Ok(file) = &file {
        let secrets = file.secrets();
        redactor.replace(&redacted_as(&profile.name), secrets.iter().map(|(name, value)| (*name, value)));
    }
    let default_host = file.as_ref().ok().and_then(HonchoFile::default_host);
    let host = host_name(profile.host.as_deref(), &profile.name, default_host);
    let (host, seen) = match file {
        Ok(file) => {
            let block = file.block_name(&host);
            let seen = in_file(&file, &path, &block, retry_wait);
            (block, seen)
        }
        Err(why) => (host, FileReading::Unreadable(why)),
    };
    ProfileCheck {
        reading: ProfileReading { profile: profile.name.clone(), place: GrantLocation { host, path }, seen },
        places,
    }
}

/// The redactor's source for the contents of a profile's file; no profile has such a name.
pub(super) fn redacted_as(profile: &ProfileName) -> String {
    format!("grants of {profile}")
}

/// The result for a profile whose disk does not answer; `known` is the last place of its grant.
pub(super) fn unanswered(profile: &HonchoProfile, known: Option<&GrantLocation>, why: String) -> ProfileReading {
    let first = || GrantLocation {
        path: profile.homes.own.join(FILE_NAME),
        host: host_name(profile.host.as_deref(), &profile.name, None),
    };
    ProfileReading {
        profile: profile.name.clone(),
        place: known.cloned().unwrap_or_else(first),
        seen: FileReading::Unreadable(why),
    }
}

fn in_file(file: &HonchoFile, path: &Path, block: &str, retry_wait: Duration) -> FileReading {
    let Some(grant) = file.grant(block) else {
        return FileReading::NoGrant;
    };
    // Not before: most profiles have no grant.
    let notes = read_notes(path);
    let about = notes.of(block).filter(|note| note.is_about(&grant.refresh_token));
    let doubt = match about {
        None => Doubt::None,
        // Another process exchanges it now: a caller that needs the token waits for the lock, and finds the new one.
        Some(note) if note.outcome() == TokenOutcome::Unknown && is_held(path) => {
            Doubt::Unknown { retry_in: Some(Duration::ZERO) }
        }
        // Its replacement was left beside the file: restoring it presents nothing.
        Some(note) if note.outcome() == TokenOutcome::Unknown && is_left_beside(path, block, &grant) => {
            Doubt::Unknown { retry_in: Some(Duration::ZERO) }
        }
        Some(note) => doubt(note, &grant.refresh_token, retry_wait),
    };
    FileReading::Grant { grant, doubt }
}

fn is_left_beside(path: &Path, block: &str, grant: &Grant) -> bool {
    resolve(path).is_ok_and(|target| store::find_replacement(&target, block, grant).is_some())
}

fn doubt(note: &TokenNote, token: &secrecy::SecretString, retry_wait: Duration) -> Doubt {
    match (note.outcome(), verdict(Some(note), token, unix_now_ms() / 1_000, false, retry_wait)) {
        (TokenOutcome::Rotated, _) => Doubt::Spent,
        (TokenOutcome::Refused, _) => Doubt::Refused,
        (_, PresentationVerdict::Present) => Doubt::Unknown { retry_in: Some(Duration::ZERO) },
        (_, PresentationVerdict::Wait(left)) => Doubt::Unknown { retry_in: Some(left) },
        (_, PresentationVerdict::Withhold | PresentationVerdict::TooSoon(_) | PresentationVerdict::Spent) => {
            Doubt::Unknown { retry_in: None }
        }
    }
}
