//! A session on the books: what waits in it, and what it runs.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::lines::{LineId, Place};
use crate::drain::messages::Origin;
use crate::ledger::messages::InboundId;
use crate::relay::session::SessionKey;
use crate::turn::id::TurnId;
use crate::turn::messages::StopCause;

#[derive(Debug, Default)]
pub(super) struct Session {
    /// One for each link over which something came that waits: one link that is down does not hold up another.
    pub(super) queues: Vec<Queue>,
    pub(super) current: Option<Box<Current>>,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) line: LineId,
    pub(super) events: VecDeque<Waiting>,
    /// Where it stands in line, and as whose.
    pub(super) place: Option<(Place, Origin)>,
}

#[derive(Debug)]
pub(super) struct Current {
    pub(super) turn: TurnId,
    pub(super) line: LineId,
    pub(super) waiting: Waiting,
    /// The moves of the gate that were known when it was asked about the event.
    pub(super) asked_at: u64,
    /// It is to stop as soon as there is a way in.
    pub(super) unwanted: Option<StopCause>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) event: InboundId,
    /// It has waited, and so was taken before a drain that refuses it now.
    pub(super) waited: bool,
    /// Who wants it to run: what the gateway itself runs again passes a gate that is closed for people.
    pub(super) origin: Origin,
}

impl Session {
    /// Events that wait in the queue behind `line`.
    pub(super) fn len(&self, line: LineId) -> usize {
        self.queues.iter().find(|queue| queue.line == line).map_or(0, |queue| queue.events.len())
    }
}

impl Queue {
    /// Who wants its first event.
    pub(super) fn origin(&self) -> Origin {
        self.events.front().map_or(Origin::External, |first| first.origin)
    }
}

/// The session of `key`, with the one copy of that key.
pub(super) fn entry<'a>(
    sessions: &'a mut HashMap<Arc<SessionKey>, Session>,
    key: &SessionKey,
) -> (Arc<SessionKey>, &'a mut Session) {
    let shared = sessions.get_key_value(key).map_or_else(|| Arc::new(key.clone()), |(shared, _)| Arc::clone(shared));
    (Arc::clone(&shared), sessions.entry(shared).or_default())
}
