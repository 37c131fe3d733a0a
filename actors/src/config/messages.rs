//! What the keeper of the settings tells, and what it is asked. No secret is in here.

use std::path::PathBuf;
use std::sync::Arc;

use actix::Message;

use crate::profile::messages::ProfilePorts;
use crate::settings::OpenSettings;
use caduceus_contract::profile_name::ProfileName;

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
