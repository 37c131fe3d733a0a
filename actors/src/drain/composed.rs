//! The gate of the composed model: the real plan, and the permits as a set.

use std::collections::BTreeSet;
use std::time::Duration;

use super::plan::{ActiveDrain, DrainScope, GatePlan};
use caduceus_contract::files::marker::MarkerReading;
use caduceus_contract::messages::drain::{Origin, Refusal};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::turn_id::TurnId;

/// The gate of one process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ModelGate {
    plan: GatePlan,
    permits: BTreeSet<TurnId>,
}

impl ModelGate {
    /// The gate of a process that has just started and has read the marker.
    pub(crate) fn started(marker: bool) -> Self {
        let mut plan = GatePlan::default();
        let reading = marker.then(|| MarkerReading { draining: true, ..MarkerReading::default() });
        plan.seen(DrainScope::Gateway, plan.orders(), reading.as_ref(), Duration::ZERO);
        Self { plan, permits: BTreeSet::new() }
    }

    /// Closes the gate. The marker is written next.
    pub(crate) fn begin(&mut self) {
        let drain = ActiveDrain {
            since: Duration::ZERO,
            requested_at: None,
            principal: None,
            suppressed: false,
            deadline: None,
            requesters: BTreeSet::new(),
            durable: false,
            order: 0,
        };
        self.plan.begin(DrainScope::Gateway, drain);
    }

    /// The marker is on disk.
    pub(crate) fn written(&mut self) {
        self.plan.written(&DrainScope::Gateway);
    }

    /// The marker is removed, and the gate opens.
    pub(crate) fn cancelled(&mut self) {
        self.plan.removing(&DrainScope::Gateway);
        self.plan.removed(&DrainScope::Gateway, self.plan.orders());
    }

    /// Whether the gate is drained.
    pub(crate) fn is_draining(&self) -> bool {
        self.plan.is_draining()
    }

    /// Admits a turn, or returns the reason against it. `always`: the mutant that does not ask the plan.
    pub(crate) fn admit(&mut self, turn: TurnId, origin: Origin, always: bool) -> Result<(), Refusal> {
        if !always {
            self.plan.admit(&ProfileName::default_profile(), origin)?;
        }
        self.permits.insert(turn);
        Ok(())
    }

    /// Drops the permit of a turn.
    pub(crate) fn release(&mut self, turn: TurnId) {
        self.permits.remove(&turn);
    }

    /// Whether no turn has a permit.
    pub(crate) fn is_empty(&self) -> bool {
        self.permits.is_empty()
    }

    /// Whether a turn has a permit.
    pub(crate) fn has_permit(&self, turn: TurnId) -> bool {
        self.permits.contains(&turn)
    }
}
