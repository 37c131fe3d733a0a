//! A profile looked at from outside the gateway, for a person who asks how it stands. Reading blocks.
//!
//! By the same rules and the same code as the actor's, so that what is told here holds there.

use super::env_file::EnvFile;
use super::env_source::{self, Content};
pub use super::plan::Missing;
use super::plan::missing;
use super::scope::{Lent, Scope};
use crate::settings::{ProfileSettings, Settings};

/// What a profile holds and lacks. `Debug` shows names only.
#[derive(Debug, Default)]
pub struct Inspection {
    /// Its `.env`; empty when that cannot be used.
    pub own: EnvFile,
    /// Its own values and what it takes from the process that asks, which may not be the gateway's.
    pub scope: Scope,
    /// Why its `.env` cannot be used. Holds nothing of it.
    pub trouble: Option<String>,
    /// What its configuration needs and its scope lacks.
    pub missing: Vec<Missing>,
}

/// Looks at `profile`, one of those in `settings`.
#[must_use]
pub fn inspect(profile: &ProfileSettings, settings: &Settings) -> Inspection {
    let (own, trouble) = match env_source::read(&profile.home.join(env_source::FILE_NAME), None) {
        Some((_, Content::Values(own))) => (own, None),
        Some((_, Content::Unusable(reason))) => (EnvFile::default(), Some(reason)),
        // Only a file that looks as it did last time is not read.
        None => (EnvFile::default(), None),
    };
    let lent = Lent { environment: &settings.environment, relay: &settings.relay, shared: settings.multiplex };
    let scope = Scope::new(&own, (profile.home == settings.home).then_some(lent));
    let missing = missing(&profile.agent, &scope);
    Inspection { own, scope, trouble, missing }
}
