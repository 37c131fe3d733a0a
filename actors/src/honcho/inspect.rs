//! A grant as found on disk, for the commands: does not wait for a lock, changes nothing, shows no secret.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};

use super::file::HonchoFile;
use super::grant::{Grant, host_name};
use super::location::{HonchoProfile, is_there};
use super::lock::{read_notes, resolve};
use super::note::{PresentationVerdict, TokenNote, TokenOutcome, verdict};
use super::store;
use crate::error_chain::error_chain;
use caduceus_contract::messages::honcho::GrantState;

/// The place of a profile's grant, and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantInspection {
    /// The file in use, or the one that a login would create.
    pub path: PathBuf,
    /// The host's name in it.
    pub host: String,
    /// Its contents.
    pub credential: Credential,
    /// Whether a refresh could replace this file.
    pub replaceable: bool,
    /// A grant that is kept beside the file because the file could not take it.
    pub kept: Option<PathBuf>,
}

impl GrantInspection {
    /// The facts of a profile whose home does not answer, with the reason.
    #[must_use]
    pub fn unanswered(profile: &HonchoProfile, why: String) -> Self {
        Self {
            path: profile.homes.own.clone(),
            host: profile.host.clone().unwrap_or_default(),
            credential: Credential::Unusable(why),
            replaceable: true,
            kept: None,
        }
    }
}

/// The contents of a host's block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    None,
    /// A key that belongs to no grant.
    ApiKey,
    /// A grant.
    Grant {
        /// The client it was granted to.
        client_id: String,
        /// Its scope.
        scope: String,
        /// Seconds until the access token expires; negative after that.
        expires_in_s: i64,
        /// Seconds since one of our processes last presented a refresh token; unknown for the original's.
        last_refresh_age_s: Option<u64>,
        /// As far as the disk shows: fresh, uncertain or in need of a login.
        state: GrantState,
        /// What came in answer to a refresh token that may be spent; free of secrets.
        doubt: Option<String>,
    },
    /// The file cannot be read or does not parse.
    Unusable(String),
}

/// Examines the grant of `profile` at `now_ms` (unix milliseconds). Blocks on the disk.
#[must_use]
pub fn inspect(profile: &HonchoProfile, now_ms: i64) -> GrantInspection {
    let path = profile.homes.locate(is_there);
    let read = store::read(&path).map(|file| file.unwrap_or_else(HonchoFile::empty));
    let default_host = read.as_ref().ok().and_then(HonchoFile::default_host);
    let host = host_name(profile.host.as_deref(), &profile.name, default_host);
    let host = read.as_ref().map_or(host.clone(), |file| file.block_name(&host));
    let credential = match &read {
        Err(error) => Credential::Unusable(error_chain(error)),
        Ok(file) => match file.grant(&host) {
            Some(grant) => credential(&grant, read_notes(&path).of(&host), now_ms),
            None if file.has_plain_key(&host) => Credential::ApiKey,
            None => Credential::None,
        },
    };
    let target = resolve(&path).unwrap_or_else(|_| path.clone());
    let kept = store::kept_beside(&target, &host);
    GrantInspection { replaceable: may_replace(&target), path, host, credential, kept }
}

fn may_replace(target: &Path) -> bool {
    let directory = target.parent().unwrap_or(Path::new("/"));
    access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok()
        && (!target.exists() || access(target, Access::WRITE_OK).is_ok())
}

fn credential(grant: &Grant, note: Option<&TokenNote>, now_ms: i64) -> Credential {
    let second = now_ms / 1_000;
    let state = state(grant, note, second);
    Credential::Grant {
        client_id: grant.client_id.clone(),
        scope: grant.scope.clone(),
        expires_in_s: grant.left_ms(now_ms).div_euclid(1_000),
        last_refresh_age_s: note.map(|note| note.age_s(second)),
        state,
        doubt: note.filter(|_| state == GrantState::Uncertain).map(|note| note.what_came().to_owned()),
    }
}

fn state(grant: &Grant, note: Option<&TokenNote>, now_s: i64) -> GrantState {
    let Some(note) = note.filter(|note| note.is_about(&grant.refresh_token)) else {
        return GrantState::Fresh;
    };
    match (note.outcome(), verdict(Some(note), &grant.refresh_token, now_s, false, Duration::MAX)) {
        (TokenOutcome::Refused | TokenOutcome::Rotated, _) | (_, PresentationVerdict::Spent) => {
            GrantState::ReauthRequired
        }
        _ => GrantState::Uncertain,
    }
}
