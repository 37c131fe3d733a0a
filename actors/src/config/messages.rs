//! What the keeper of the settings tells, and what it is asked. No secret is in here.

use std::path::PathBuf;
use std::sync::Arc;

use actix::Message;
use serde::Serialize;

use crate::profile::messages::ProfilePorts;
use crate::profile::name::ProfileName;
use crate::settings::OpenSettings;

/// What is in force, as far as others need to know.
#[derive(Debug, Clone)]
pub struct InForce {
    /// The settings; those that hold from the next start only are as at the start.
    pub settings: Arc<OpenSettings>,
    /// The profiles served, the one of the gateway's own home first.
    pub profiles: Vec<Served>,
}

/// One profile that is served.
#[derive(Debug, Clone)]
pub struct Served {
    /// Its name.
    pub name: ProfileName,
    /// Its directory.
    pub home: PathBuf,
    /// The ports of its actor.
    pub ports: ProfilePorts,
}

/// News: this is in force from now on. Being told the same twice changes nothing. The gate answers once it knows of every
/// profile in it whether that is drained.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct SettingsChanged(pub Arc<InForce>);

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
