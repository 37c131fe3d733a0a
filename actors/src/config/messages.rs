//! The messages about the settings in force. They hold no secret.

use std::path::PathBuf;
use std::sync::Arc;

use actix::Message;

use crate::profile::agent::AgentSettings;
use crate::profile::messages::ProfilePorts;
use crate::settings::OpenSettings;
use caduceus_contract::profile_name::ProfileName;

/// The settings and the profiles in force, as the other actors receive them.
#[derive(Debug, Clone)]
pub struct InForce {
    /// The settings; those that apply at the next start only are as at the start.
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
    /// The configuration of its agent.
    pub agent: Arc<AgentSettings>,
    /// The ports of its actor.
    pub ports: ProfilePorts,
}

/// These settings are in force from now on. Receiving the same twice changes nothing. The gate answers once it has read the drain
/// marker of every profile in it.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct SettingsChanged(pub Arc<InForce>);
