//! The states of the gateway and of its process, with the names that the original's tools read.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::messages::drain::DrainView;

/// The state of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayState {
    /// Not yet ready for a turn.
    Starting,
    /// Turns may start.
    Running,
    /// No turn may start; those in flight finish. Reversible.
    Draining,
    /// Stopping.
    Stopping,
    /// Ended without error.
    Stopped,
    /// Failed before it was ready.
    StartupFailed,
}

impl GatewayState {
    /// The name in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::StartupFailed => "startup_failed",
        }
    }

    /// The state with this name, `None` for a name of a later version.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Starting, Self::Running, Self::Draining, Self::Stopping, Self::Stopped, Self::StartupFailed];
        all.into_iter().find(|state| state.as_str() == name)
    }
}

impl fmt::Display for GatewayState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The phase of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessPhase {
    /// The tree is being started.
    Starting,
    /// The tree is up.
    Running,
    /// The process is stopping.
    Stopping,
    /// It has stopped.
    Stopped,
}

/// The state of a gateway whose process is in `phase`, given its gate.
#[must_use]
pub fn state(phase: ProcessPhase, gate: &DrainView) -> GatewayState {
    match phase {
        ProcessPhase::Starting => GatewayState::Starting,
        ProcessPhase::Running if gate.stopping => GatewayState::Stopping,
        ProcessPhase::Running if gate.draining => GatewayState::Draining,
        ProcessPhase::Running => GatewayState::Running,
        ProcessPhase::Stopping => GatewayState::Stopping,
        ProcessPhase::Stopped => GatewayState::Stopped,
    }
}

/// Whether a drain would wait for turns. `alive`: the process runs.
#[must_use]
pub fn busy(state: Option<GatewayState>, alive: bool, active_agents: u64) -> bool {
    drainable(state, alive) && active_agents > 0
}

/// Whether a drain can begin, with or without turns in flight. `alive`: the process runs.
#[must_use]
pub fn drainable(state: Option<GatewayState>, alive: bool) -> bool {
    alive && state == Some(GatewayState::Running)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_state_is_its_json() {
        for name in ["starting", "running", "draining", "stopping", "stopped", "startup_failed"] {
            let state = GatewayState::from_name(name).unwrap();
            assert_eq!(serde_json::to_value(state).unwrap(), name);
            assert_eq!(state.to_string(), name);
        }
        assert_eq!(GatewayState::from_name("degraded"), None);
    }
}
