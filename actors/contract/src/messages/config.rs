//! Queries of the `ConfigActor`, and their answers. `SettingsChanged` carries ports and settings and is in `caduceus-actors`.

use actix::Message;
use serde::Serialize;

use crate::profile_name::ProfileName;

/// Reads every file again, the settings and each profile's `.env`, also those that look as they did. Answered once what follows
/// from it has been carried out.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "ReadAgainDone")]
pub struct ReadAgain;

/// Answer to [`ReadAgain`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadAgainDone {
    /// Keys of the home's files, and `profile NAME`, that read otherwise than before.
    pub changed: Vec<String>,
    /// What is wrong with the home's files, one sentence each.
    pub troubles: Vec<String>,
}

/// How the configuration is.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "ConfigView")]
pub struct GetConfig;

/// Answer to [`GetConfig`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConfigView {
    /// What is wrong with the home's files, one sentence each; while there is any, what they said last holds.
    pub troubles: Vec<String>,
    /// Keys that were changed and hold from the next start only.
    pub needs_restart: Vec<&'static str>,
    /// Profiles that are served no more and whose last turns still run, or whose actor is being stopped.
    pub leaving: Vec<ProfileName>,
    /// When something last changed, RFC 3339 UTC; `None` if nothing has since the start.
    pub changed_at: Option<String>,
}
