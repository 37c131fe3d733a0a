//! The running turns, and their ports.

use std::collections::HashMap;
use std::time::Instant;

use tracing::debug;

use caduceus_contract::messages::turn::{SteerTurn, StopCause, StopTurn};
use caduceus_contract::turn_id::TurnId;
use caduceus_supervision::Port;

/// The ports of one turn.
pub(super) struct StartedTurn {
    pub(super) stop: Option<Port<StopTurn>>,
    pub(super) steer: Option<Port<SteerTurn>>,
    pub(super) since: Instant,
}

/// The turns that this incarnation of the dispatcher started, or adopted.
#[derive(Default)]
pub(super) struct StartedTurns(HashMap<TurnId, StartedTurn>);

impl StartedTurns {
    pub(super) fn insert(&mut self, turn: TurnId, started: StartedTurn) {
        self.0.insert(turn, started);
    }

    /// A turn that another incarnation started. The time since its start is kept if it is listed already.
    pub(super) fn adopt(&mut self, turn: TurnId, stop: Option<Port<StopTurn>>) {
        let since = self.0.get(&turn).map_or_else(Instant::now, |started| started.since);
        self.0.insert(turn, StartedTurn { stop, steer: None, since });
    }

    pub(super) fn remove(&mut self, turn: TurnId) -> Option<StartedTurn> {
        self.0.remove(&turn)
    }

    /// Orders a turn to stop. `false` if it is not listed.
    pub(super) fn stop(&self, turn: TurnId, cause: StopCause) -> bool {
        let Some(started) = self.0.get(&turn) else { return false };
        if let Some(stop) = &started.stop
            && let Err(error) = stop.tell(StopTurn { cause })
        {
            // It ended at the same moment.
            debug!(%turn, %error, "stop not delivered to the turn");
        }
        true
    }

    /// The port of a turn for a steered event.
    pub(super) fn steer(&self, turn: TurnId) -> Option<&Port<SteerTurn>> {
        self.0.get(&turn)?.steer.as_ref()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
