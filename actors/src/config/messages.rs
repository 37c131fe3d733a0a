//! What the keeper of the settings tells, and what it is asked. No secret is in here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::Message;

use crate::profile::messages::ProfilePorts;
use crate::relay::route::Routes;
use crate::settings::{Busy, Interrupted, WhenRefused};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::session::SessionRules;

/// What is in force, as far as others need to know.
#[derive(Debug, Clone)]
pub struct InForce {
    /// The gateway's own home.
    pub home: PathBuf,
    /// Whether named profiles are served beside the default one.
    pub multiplex: bool,
    /// The profiles served, the one of the gateway's own home first.
    pub profiles: Vec<Served>,
    /// Which profile an event runs under when it does not say.
    pub routes: Routes,
    /// How session keys are made.
    pub session_rules: SessionRules,
    /// What happens to a message while its session is busy.
    pub busy: Busy,
    /// Turns at once over all sessions.
    pub max_concurrent_turns: usize,
    /// What becomes of turns that a crash cut off.
    pub interrupted: Interrupted,
    /// What a message gets that comes during a drain.
    pub refused: WhenRefused,
    /// How long a shutdown waits for turns.
    pub drain_timeout: Duration,
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
