//! A session of the plan: its waiting events and its running turn.

use std::collections::VecDeque;

use super::lines::{LineId, LinePlace};
use caduceus_contract::messages::drain::Origin;
use caduceus_contract::messages::ledger::InboundId;
use caduceus_contract::messages::turn::StopCause;
use caduceus_contract::turn_id::TurnId;

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct SessionState {
    /// One for each link with waiting events: a link that is down does not delay another.
    pub(super) queues: Vec<SessionQueue>,
    pub(super) current: Option<Box<CurrentTurn>>,
    /// Events that are being recorded and wait afterwards; later ones do not overtake them.
    pub(super) being_recorded: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SessionQueue {
    pub(super) line: LineId,
    pub(super) events: VecDeque<WaitingEvent>,
    /// Its place in line, and the origin under which it is there.
    pub(super) place: Option<(LinePlace, Origin)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CurrentTurn {
    pub(super) turn: TurnId,
    pub(super) line: LineId,
    /// `None` until its event is recorded.
    pub(super) waiting: Option<WaitingEvent>,
    /// The number of reports of the gate when the permit was requested.
    pub(super) requested_at: u64,
    /// It is stopped once it has started.
    pub(super) pending_stop: Option<StopCause>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct WaitingEvent {
    pub(super) event: InboundId,
    /// It has waited, and so was acknowledged before a drain that refuses it now.
    pub(super) waited: bool,
    /// An event that the gateway itself runs again passes a gate that is closed for people.
    pub(super) origin: Origin,
}

impl SessionState {
    /// Whether it has neither a turn nor an event.
    pub(super) fn is_empty(&self) -> bool {
        self.current.is_none() && self.queues.is_empty() && self.being_recorded == 0
    }

    /// Events that wait in the queue behind `line`.
    pub(super) fn len(&self, line: LineId) -> usize {
        self.queues.iter().find(|queue| queue.line == line).map_or(0, |queue| queue.events.len())
    }
}

impl SessionQueue {
    /// The origin of its first event.
    pub(super) fn origin(&self) -> Origin {
        self.events.front().map_or(Origin::External, |first| first.origin)
    }
}
