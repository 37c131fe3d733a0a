//! The settings of the status, and what outlives its incarnations.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::changes::StatusChanges;
use super::listener::SnapshotListener;
use super::views::ViewMemory;
use crate::config::messages::InForce;
use crate::locked::locked;
use caduceus_contract::messages::status::Phase;
use caduceus_contract::status::lifecycle::ProcessPhase;

/// The settings of the status.
#[derive(Debug, Clone)]
pub struct StatusSettings {
    /// The settings in force.
    pub in_force: Arc<InForce>,
    /// The start time of the process.
    pub started: Instant,
    /// The phase of the process; outlives every incarnation of the actor.
    pub phase: PhaseMemory,
    /// The last view of every actor; outlives every incarnation as well.
    pub views: ViewMemory,
    /// The changes since the last snapshot was begun; they outlive every incarnation as well.
    pub changes: StatusChanges,
    /// Receivers outside the tree of every snapshot.
    pub listener: SnapshotListener,
}

/// The phase of the process, and the reason of its end.
#[derive(Debug, Clone)]
pub struct PhaseMemory(Arc<Mutex<(ProcessPhase, Option<String>)>>);

impl Default for PhaseMemory {
    fn default() -> Self {
        Self(Arc::new(Mutex::new((ProcessPhase::Starting, None))))
    }
}

impl PhaseMemory {
    pub(super) fn get(&self) -> (ProcessPhase, Option<String>) {
        locked(&self.0).clone()
    }

    pub(super) fn set(&self, phase: Phase) {
        *locked(&self.0) = (phase.phase, phase.exit_reason);
    }
}
