//! The turns of the dispatcher, those of an earlier incarnation included, from their slot to their end: what they need to start, which start together, which run.

use std::collections::HashMap;
use std::sync::Arc;

use super::event::DispatchJob;
use super::ports::{DispatchPorts, TurnFactory};
use super::start::{PermittedTurn, StartOutcomes, StartingTurn, start_children, start_turns};
use super::started::{StartedTurn, StartedTurns};
use crate::config::messages::Served;
use crate::drain::permit::TurnPermit;
use caduceus_contract::link::Target;
use caduceus_contract::messages::drain::Origin;
use caduceus_contract::messages::ledger::InboundId;
use caduceus_contract::messages::turn::StopTurn;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::descriptor::Descriptor;
use caduceus_supervision::Port;

/// The turns with a slot.
pub(super) struct DispatchTurns {
    turn_factory: TurnFactory,
    /// The content of events that have a turn, were steered into one, or have just arrived; that of others is in the ledger.
    jobs: HashMap<InboundId, DispatchJob>,
    /// Turns that need a permit, at the end of this poll.
    to_start: Vec<StartingTurn>,
    /// Turns whose events are in the ledger as running, to start at the end of this poll.
    begun: Vec<PermittedTurn>,
    started: StartedTurns,
}

/// Whether a turn can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Launch {
    /// It starts at the end of this poll.
    Queued,
    /// Its event has no descriptor: its link is down. The content of the event is no longer held.
    NoLink,
    /// The content of its event is not held.
    NoJob,
}

impl DispatchTurns {
    /// No turns; `turn_factory` makes them.
    pub(super) fn new(turn_factory: TurnFactory) -> Self {
        Self {
            turn_factory,
            jobs: HashMap::new(),
            to_start: Vec::new(),
            begun: Vec::new(),
            started: StartedTurns::default(),
        }
    }

    /// Holds the content of an event.
    pub(super) fn hold_job(&mut self, event: InboundId, job: DispatchJob) {
        self.jobs.insert(event, job);
    }

    pub(super) fn job(&self, event: InboundId) -> Option<&DispatchJob> {
        self.jobs.get(&event)
    }

    pub(super) fn take_job(&mut self, event: InboundId) -> Option<DispatchJob> {
        self.jobs.remove(&event)
    }

    /// The chat of an event.
    pub(super) fn target(&self, event: InboundId) -> Option<Arc<Target>> {
        self.jobs.get(&event).map(|job| Arc::clone(&job.target))
    }

    /// A turn is to start with the others of this poll, with a permit that is taken then. `origin` and `descriptor` complete the content
    /// of its event.
    pub(super) fn launch(
        &mut self,
        turn: TurnId,
        event: InboundId,
        profile: Served,
        origin: Option<Origin>,
        descriptor: impl FnOnce(&Target) -> Option<Arc<Descriptor>>,
    ) -> Launch {
        let Some(job) = self.jobs.get_mut(&event) else { return Launch::NoJob };
        job.origin = origin.unwrap_or(job.origin);
        if job.descriptor.is_none() {
            job.descriptor = descriptor(&job.target);
        }
        if job.descriptor.is_none() {
            self.jobs.remove(&event);
            return Launch::NoLink;
        }
        self.to_start.push(StartingTurn { turn, event, job: job.clone(), profile });
        Launch::Queued
    }

    /// A turn with a permit, whose event is recorded as running, starts with the others of this poll.
    pub(super) fn begin(
        &mut self,
        turn: TurnId,
        event: InboundId,
        job: DispatchJob,
        profile: Served,
        permit: TurnPermit,
    ) {
        self.begun.push(PermittedTurn { starting: StartingTurn { turn, event, job, profile }, permit });
    }

    /// Takes the turns of this poll that need a permit.
    pub(super) fn take_to_start(&mut self) -> Vec<StartingTurn> {
        std::mem::take(&mut self.to_start)
    }

    /// Starts the turns of this poll whose events are recorded as running, if there are any.
    pub(super) fn start_begun(&mut self, ports: &DispatchPorts) -> Option<impl Future<Output = StartOutcomes> + use<>> {
        let begun = std::mem::take(&mut self.begun);
        (!begun.is_empty()).then(|| start_children(ports, &self.turn_factory, begun))
    }

    /// Marks the events of turns with a permit as running, and starts the turns.
    pub(super) fn start_permitted(
        &self,
        ports: &Arc<DispatchPorts>,
        permitted: Vec<PermittedTurn>,
    ) -> impl Future<Output = StartOutcomes> + use<> {
        start_turns(Arc::clone(ports), Arc::clone(&self.turn_factory), permitted)
    }

    /// A turn has started.
    pub(super) fn started(&mut self, turn: TurnId, started: StartedTurn) {
        self.started.insert(turn, started);
    }

    /// Adopts a turn of an earlier incarnation, with the content of its event.
    pub(super) fn adopt(&mut self, turn: TurnId, stop: Option<Port<StopTurn>>, event: InboundId, job: DispatchJob) {
        self.started.adopt(turn, stop);
        self.jobs.insert(event, job);
    }

    /// The turns that were started or adopted.
    pub(super) fn running(&self) -> &StartedTurns {
        &self.started
    }

    pub(super) fn running_mut(&mut self) -> &mut StartedTurns {
        &mut self.started
    }
}
