//! Queries of the `ConfigActor`, and their answers. `SettingsChanged` carries ports and settings and is in `caduceus-actors`.

use actix::Message;
use serde::Serialize;

use crate::profile_name::ProfileName;

/// Reads every file again, the settings and each profile's `.env`, even if their stamps are unchanged. Answered once the resulting
/// steps are carried out.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "ReloadDone")]
pub struct ReloadConfig;

/// Answer to [`ReloadConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadDone {
    /// Changed keys of the home's files, and `profile NAME` for changed profiles.
    pub changed: Vec<String>,
    /// The errors in the home's files, one sentence each.
    pub problems: Vec<String>,
}

/// Requests the state of the configuration.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "ConfigView")]
pub struct GetConfig;

/// Answer to [`GetConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConfigView {
    /// The errors in the home's files, one sentence each; while there are any, the last valid settings stay in force.
    pub troubles: Vec<String>,
    /// Changed keys that apply at the next start only.
    pub needs_restart: Vec<&'static str>,
    /// Profiles that are no longer served and whose last turns still run, or whose actor is stopping.
    pub leaving: Vec<ProfileName>,
    /// Time of the last change, RFC 3339 UTC; `None` if there was none since the start.
    pub changed_at: Option<String>,
}
