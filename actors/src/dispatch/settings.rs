//! The settings of the dispatcher.

use std::collections::BTreeMap;

use super::event::Rules;
use super::home::Home;
use crate::config::messages::InForce;
use crate::profile::messages::ProfilePorts;
use crate::settings::{Busy, Interrupted, WhenRefused};
use caduceus_contract::profile_name::ProfileName;

/// The settings of the dispatcher.
#[derive(Debug, Clone)]
pub struct DispatchSettings {
    /// Which profiles are served.
    pub rules: Rules,
    /// The ports of those.
    pub ways: BTreeMap<ProfileName, ProfilePorts>,
    /// What a message does while its session is busy.
    pub busy: Busy,
    /// Turns at once.
    pub max_turns: usize,
    /// What a message gets during a drain.
    pub refused: WhenRefused,
    /// What becomes of turns that a crash cut off.
    pub interrupted: Interrupted,
    /// Where start and shutdown are announced.
    pub home: Option<Home>,
    /// Milliseconds since 1970 at which the process started: what was sending before was cut off.
    pub process_started_ms: i64,
}

impl DispatchSettings {
    /// Those of the settings in force.
    #[must_use]
    pub fn of(in_force: &InForce, home: Option<Home>, process_started_ms: i64) -> Self {
        let profiles = &in_force.profiles;
        Self {
            rules: Rules {
                multiplex: in_force.multiplex,
                // There is at least one, and the default is the first.
                default: profiles.first().map_or_else(ProfileName::default_profile, |served| served.name.clone()),
                served: profiles.iter().map(|served| served.name.clone()).collect(),
                routes: in_force.routes.clone(),
                sessions: in_force.session_rules,
            },
            ways: profiles.iter().map(|served| (served.name.clone(), served.ports.clone())).collect(),
            busy: in_force.busy,
            max_turns: in_force.max_concurrent_turns,
            refused: in_force.refused,
            interrupted: in_force.interrupted,
            home,
            process_started_ms,
        }
    }
}
