//! The plans of a message's way, composed: dispatcher, gate, outbox and link with a model of the disk, of the connector and of a crash, all
//! histories of which are explored.
//!
//! The decisions are the real ones: `DispatchPlan`, `SlotPlan`, `GatePlan`, `LinkPlan`, `UnackedEvents`, `LinkTable`, `WriteState`, the
//! operations of the ledger (`Work`), and the functions of the outbox and of the recovery. The model adds the disk, the connector, the
//! crash, and the shell that carries the output of one to the input of the next. `docs/guarantees.md` has the
//! properties, and what it leaves out.

mod connector;
mod outbox;
mod process;
mod properties;
mod world;

mod tests;

use std::sync::Arc;

use stateright::{Model, Property};

use crate::settings::Interrupted;
use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::event::Source;
use caduceus_contract::wire::session::{SessionKey, SessionRules};
use world::{Budget, Step, World};

/// A possible defect of the shell, of the disk or of one plan's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    /// The disk answers the mark of a running event without a write.
    DropsMark,
    /// An event is acknowledged when it arrives.
    AcknowledgesBeforeTheDisk,
    /// A reply that may have arrived is sent again like a new one.
    ResendsWithoutMark,
    /// A reply whose result is on disk is sent again.
    ResendsSettled,
    /// The gate does not ask its plan.
    AdmitsAfterTheAnswer,
    /// A start does not look for held events.
    ForgetsHeld,
    /// The end of a turn is reported when it starts.
    RunsSessionTwice,
    /// A result of an earlier connection is taken for that of an action of this one.
    TakesStaleResult,
    /// A lost connection is not closed before the next dial.
    KeepsTheSocket,
}

/// What is explored.
#[derive(Debug, Clone)]
struct Composed {
    /// The events that the connector has, in order, by the number of their session.
    events: Vec<usize>,
    /// What happens at most so often.
    budget: Budget,
    interrupted: Interrupted,
    mutant: Option<Mutant>,
    sessions: [SessionKey; 2],
    target: Arc<Target>,
}

impl Composed {
    /// A gateway with the default settings.
    fn new(events: &[usize], budget: Budget) -> Self {
        let session = |chat: &str| {
            let (platform, chat_id) = ("discord".to_owned(), chat.to_owned());
            let source = Source { platform, chat_type: "dm".to_owned(), chat_id, ..Source::default() };
            SessionKey::new(&source, &ProfileName::default_profile(), SessionRules::default())
        };
        let target = Target {
            link: LinkId::process(),
            platform: "discord".to_owned(),
            bot_id: None,
            chat_id: "chat".to_owned(),
            scope_id: None,
            user_id: None,
            thread_id: None,
        };
        Self {
            events: events.to_vec(),
            budget,
            interrupted: Interrupted::Ask,
            mutant: None,
            sessions: ["a", "b"].map(session),
            target: Arc::new(target),
        }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn session(&self, event: usize) -> &SessionKey {
        &self.sessions[self.events[event]]
    }
}

impl Model for Composed {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, state: &World, actions: &mut Vec<Step>) {
        actions.extend(state.steps());
    }

    fn next_state(&self, state: &World, step: Step) -> Option<World> {
        let mut next = state.clone();
        next.apply(self, step);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(self)
    }
}
