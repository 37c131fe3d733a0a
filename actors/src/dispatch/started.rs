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
pub(super) struct StartedTurns {
    turns: HashMap<TurnId, StartedTurn>,
    /// Turns of an earlier incarnation that may report nothing more. Some have a permit, and were not started.
    adopted: Vec<TurnId>,
}

impl StartedTurns {
    pub(super) fn insert(&mut self, turn: TurnId, started: StartedTurn) {
        self.turns.insert(turn, started);
    }

    /// A turn that another incarnation started; it is to be checked. The time since its start is kept if it is listed already.
    pub(super) fn adopt(&mut self, turn: TurnId, stop: Option<Port<StopTurn>>) {
        let since = self.turns.get(&turn).map_or_else(Instant::now, |started| started.since);
        self.turns.insert(turn, StartedTurn { stop, steer: None, since });
        self.adopted.push(turn);
    }

    /// An adopted turn is still to be checked.
    pub(super) fn keep_adopted(&mut self, turn: TurnId) {
        self.adopted.push(turn);
    }

    /// A turn is started by this incarnation, and not by an earlier one.
    pub(super) fn start_own(&mut self, turn: TurnId) {
        self.adopted.retain(|adopted| *adopted != turn);
    }

    /// Keeps the adopted turns for which `runs` holds. Whether any is left.
    pub(super) fn retain_adopted(&mut self, runs: impl Fn(TurnId) -> bool) -> bool {
        self.adopted.retain(|turn| runs(*turn));
        !self.adopted.is_empty()
    }

    pub(super) fn has_adopted(&self) -> bool {
        !self.adopted.is_empty()
    }

    /// Takes the adopted turns, to check them.
    pub(super) fn take_adopted(&mut self) -> Vec<TurnId> {
        std::mem::take(&mut self.adopted)
    }

    pub(super) fn remove(&mut self, turn: TurnId) -> Option<StartedTurn> {
        self.turns.remove(&turn)
    }

    /// Orders a turn to stop. `false` if it is not listed.
    pub(super) fn stop(&self, turn: TurnId, cause: StopCause) -> bool {
        let Some(started) = self.turns.get(&turn) else { return false };
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
        self.turns.get(&turn)?.steer.as_ref()
    }

    pub(super) fn len(&self) -> usize {
        self.turns.len()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::turn::id::TurnIds;

    #[test]
    fn an_adopted_turn_is_checked_until_it_ends_or_is_started_again() {
        let (mut started, mut ids) = (StartedTurns::default(), TurnIds::seeded(Uuid::nil()));
        let turns = [ids.make(), ids.make(), ids.make()];
        for turn in turns {
            started.adopt(turn, None);
        }
        started.start_own(turns[0]);
        assert!(started.retain_adopted(|turn| turn != turns[1]));
        assert_eq!(started.take_adopted(), [turns[2]]);
        assert!(!started.has_adopted());
        started.keep_adopted(turns[2]);
        assert!(started.has_adopted() && started.len() == 3);
    }
}
