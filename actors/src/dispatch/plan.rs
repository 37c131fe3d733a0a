//! Which event runs next: one turn at a time in a session, so many at once over all, none through a closed gate.
//!
//! Knows events by their row in the ledger only; what they say is kept beside it by the actor.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use crate::drain::messages::{Origin, Refusal};
use crate::ledger::messages::InboundId;
use crate::profile::name::ProfileName;
use crate::relay::session::SessionKey;
use crate::settings::Busy;
use crate::turn::id::TurnId;

/// Most events that wait in one session.
const MAX_QUEUE: usize = 32;

/// What is to be done, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask the gate for a permit for this turn of this event.
    Ask(TurnId, InboundId),
    /// Take the event off the books: the gate is closed, and the chat is told.
    Refuse(InboundId),
    /// Take it off the books: the session has too much waiting, and the chat is told.
    Overflow(InboundId),
    /// Take it off the books: the session is busy, and the chat is told.
    Busy(InboundId),
    /// Stop this turn for the newer message.
    Interrupt(TurnId),
    /// Hand the event to this running turn; one that does not take it comes back by [`Plan::not_steered`], as one that came
    /// while the gate was closed if the last is true.
    Steer(TurnId, InboundId, bool),
    /// The event waits for the gate.
    Hold(InboundId),
}

/// Sessions, their queues and the line for a place.
#[derive(Debug)]
pub(super) struct Plan {
    busy: Busy,
    max_turns: usize,
    sessions: HashMap<SessionKey, Session>,
    /// Sessions whose first event waits for a place, in order.
    line: VecDeque<SessionKey>,
    /// Turns that have a place: asked for, starting or running.
    turns: HashMap<TurnId, SessionKey>,
    /// Events that a running turn took besides its own.
    steered: HashMap<TurnId, Vec<InboundId>>,
    /// Events on the books, so that none gets on them twice.
    known: HashSet<InboundId>,
    closed: bool,
    closed_profiles: BTreeSet<ProfileName>,
    /// Counts the news of the gate; a refusal asked for before the last one is older than it.
    moves: u64,
}

#[derive(Debug, Default)]
struct Session {
    queue: VecDeque<Waiting>,
    current: Option<(TurnId, Waiting)>,
    /// The moves of the gate that were known when it was asked about the current event.
    asked_at: u64,
    in_line: bool,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    event: InboundId,
    /// It has waited in the queue, and so was taken before a drain that refuses it now.
    waited: bool,
    /// Who wants it to run: what the gateway itself runs again passes a gate that is closed for people.
    origin: Origin,
}

impl Waiting {
    fn new(event: InboundId, waited: bool) -> Self {
        Self { event, waited, origin: Origin::External }
    }
}

impl Plan {
    pub(super) fn new(busy: Busy, max_turns: usize) -> Self {
        Self {
            busy,
            max_turns,
            sessions: HashMap::new(),
            line: VecDeque::new(),
            turns: HashMap::new(),
            steered: HashMap::new(),
            known: HashSet::new(),
            closed: false,
            closed_profiles: BTreeSet::new(),
            moves: 0,
        }
    }

    /// From now on these hold. A limit that rose lets those in line go on; one that fell stops nobody.
    pub(super) fn rule(&mut self, busy: Busy, max_turns: usize) -> Vec<Step> {
        self.busy = busy;
        self.max_turns = max_turns;
        self.advance(Vec::new())
    }

    /// Whether the gate, as last heard, lets a new turn of `profile` through.
    pub(super) fn is_open(&self, profile: &ProfileName) -> bool {
        !self.closed && !self.closed_profiles.contains(profile)
    }

    /// An event that was just written down.
    pub(super) fn arrived(&mut self, event: InboundId, key: &SessionKey) -> Vec<Step> {
        if !self.known.insert(event) {
            return Vec::new();
        }
        let open = self.is_open(key.profile());
        let session = self.sessions.entry(key.clone()).or_default();
        // A session that waits for a place is as busy as one that has it.
        if self.busy == Busy::Reject && (session.current.is_some() || session.in_line) {
            self.known.remove(&event);
            return vec![Step::Busy(event)];
        }
        if let (Busy::Steer, Some((turn, _))) = (self.busy, session.current) {
            return vec![Step::Steer(turn, event, !open)];
        }
        // What is held for the gate is held without a limit.
        if (open || session.current.is_some()) && session.queue.len() >= MAX_QUEUE {
            self.known.remove(&event);
            return vec![Step::Overflow(event)];
        }
        let waited = session.current.is_some() || !session.queue.is_empty();
        session.queue.push_back(Waiting::new(event, waited));
        // No running turn is stopped for one that may not start.
        let interrupted = session.current.filter(|_| self.busy == Busy::Interrupt && open);
        let mut steps: Vec<_> = interrupted.map(|(turn, _)| Step::Interrupt(turn)).into_iter().collect();
        steps.extend(self.stand_in_line(key));
        steps
    }

    /// An event that was taken before this dispatcher came up, or is to run again: it waits like any other.
    pub(super) fn restored(&mut self, event: InboundId, key: &SessionKey, origin: Origin) -> Vec<Step> {
        if !self.known.insert(event) {
            return Vec::new();
        }
        let queue = &mut self.sessions.entry(key.clone()).or_default().queue;
        // What a drain does not hold back does not wait behind what it does.
        let place = match origin {
            Origin::Internal => queue.iter().take_while(|first| first.origin == Origin::Internal).count(),
            Origin::External => queue.len(),
        };
        queue.insert(place, Waiting { event, waited: true, origin });
        self.stand_in_line(key)
    }

    /// A turn that was running before this dispatcher came up.
    pub(super) fn adopted(&mut self, turn: TurnId, event: InboundId, key: &SessionKey) {
        self.known.insert(event);
        self.turns.insert(turn, key.clone());
        self.sessions.entry(key.clone()).or_default().current = Some((turn, Waiting::new(event, true)));
    }

    /// A steered event that the running turn did not take: it waits, if there is room. One that came during a drain which is
    /// still on gets what any other gets; `late`: it did.
    pub(super) fn not_steered(&mut self, event: InboundId, key: &SessionKey, late: bool, hold: bool) -> Vec<Step> {
        self.known.remove(&event);
        let late = late && !self.is_open(key.profile());
        if late && !hold {
            return vec![Step::Refuse(event)];
        }
        if !late && self.sessions.get(key).is_some_and(|session| session.queue.len() >= MAX_QUEUE) {
            return vec![Step::Overflow(event)];
        }
        let mut steps: Vec<_> = late.then_some(Step::Hold(event)).into_iter().collect();
        self.known.insert(event);
        let queue = &mut self.sessions.entry(key.clone()).or_default().queue;
        // Several come back at once when their turn ends, in any order.
        let behind = |first: &Waiting| first.origin == Origin::Internal || first.event < event;
        let place = queue.iter().take_while(|first| behind(first)).count();
        queue.insert(place, Waiting::new(event, true));
        steps.extend(self.stand_in_line(key));
        steps
    }

    /// An event that this turn took besides its own. It is done with when the turn is. `false` if that is so already.
    pub(super) fn steered(&mut self, turn: TurnId, event: InboundId) -> bool {
        let runs = self.turns.contains_key(&turn);
        if runs {
            self.known.insert(event);
            self.steered.entry(turn).or_default().push(event);
        } else {
            self.known.remove(&event);
        }
        runs
    }

    /// The events that a turn took besides its own; the plan knows them no longer.
    pub(super) fn take_steered(&mut self, turn: TurnId) -> Vec<InboundId> {
        let steered = self.steered.remove(&turn).unwrap_or_default();
        for event in &steered {
            self.known.remove(event);
        }
        steered
    }

    /// The gate refused a turn.
    pub(super) fn refused(&mut self, turn: TurnId, why: Refusal, hold: bool) -> Vec<Step> {
        let Some((key, current)) = self.leave(turn) else { return Vec::new() };
        let Some(session) = self.sessions.get_mut(&key) else { return Vec::new() };
        let Waiting { event, waited, .. } = current;
        match why {
            // What was acknowledged and queued before the drain keeps its place.
            Refusal::Draining if waited || hold => {
                session.queue.push_front(Waiting { waited: true, ..current });
                if session.asked_at == self.moves {
                    // The gate has spoken; its news is still on the way.
                    self.close_for(key.profile());
                }
                // The news can also have come first, and that of the drain's end with it: then nothing else would ask again.
                let shut = !self.is_open(key.profile());
                let mut steps: Vec<_> = shut.then_some(Step::Hold(event)).into_iter().collect();
                steps.extend(self.stand_in_line(&key));
                steps
            }
            Refusal::Draining => {
                self.known.remove(&event);
                self.forget_idle(&key);
                self.advance(vec![Step::Refuse(event)])
            }
            // It lies in the ledger and runs after the restart.
            Refusal::Stopping => {
                session.queue.push_front(Waiting { waited: true, ..current });
                self.closed = true;
                Vec::new()
            }
            // A new gate is up or coming.
            Refusal::Superseded => {
                session.queue.push_front(current);
                self.stand_in_line(&key)
            }
        }
    }

    /// A turn is over, or could not be started.
    pub(super) fn ended(&mut self, turn: TurnId) -> Vec<Step> {
        let Some((key, current)) = self.leave(turn) else { return Vec::new() };
        self.known.remove(&current.event);
        let mut steps = self.stand_in_line(&key);
        self.forget_idle(&key);
        steps.extend(self.advance(Vec::new()));
        steps
    }

    /// The gate moved.
    pub(super) fn gate(&mut self, closed: bool, profiles: impl IntoIterator<Item = ProfileName>) -> Vec<Step> {
        self.moves += 1;
        self.closed = closed;
        self.closed_profiles = profiles.into_iter().collect();
        // Whoever came first is first in line.
        let first = |session: &Session| session.queue.front().map(|first| first.event);
        let mut waiting: Vec<_> =
            self.sessions.iter().filter_map(|(key, session)| Some((first(session)?, key.clone()))).collect();
        waiting.sort_unstable_by_key(|(event, _)| *event);
        waiting.iter().flat_map(|(_, key)| self.stand_in_line(key)).collect()
    }

    /// The event that a turn runs.
    pub(super) fn event_of(&self, turn: TurnId) -> Option<InboundId> {
        let session = self.sessions.get(self.turns.get(&turn)?)?;
        session.current.filter(|(current, _)| *current == turn).map(|(_, current)| current.event)
    }

    /// The turns of a session.
    pub(super) fn turns_in(&self, session: &SessionKey) -> Vec<TurnId> {
        self.turns.iter().filter(|(_, key)| *key == session).map(|(turn, _)| *turn).collect()
    }

    /// The turns of every session whose key reads so, as the wire has it: two sessions can read the same.
    pub(super) fn turns_of(&self, text: &str) -> Vec<TurnId> {
        self.turns.iter().filter(|(_, key)| key.text() == text).map(|(turn, _)| *turn).collect()
    }

    /// Sessions with work; turns with a place; events that wait with the gate open; events that wait for the gate.
    pub(super) fn counts(&self) -> (usize, usize, usize, usize) {
        let (open, held): (Vec<_>, Vec<_>) = self.sessions.iter().partition(|(key, _)| self.is_open(key.profile()));
        let waiting = |sessions: Vec<(&SessionKey, &Session)>| sessions.iter().map(|(_, one)| one.queue.len()).sum();
        (self.sessions.len(), self.turns.len(), waiting(open), waiting(held))
    }

    fn close_for(&mut self, profile: &ProfileName) {
        self.closed_profiles.insert(profile.clone());
    }

    /// Takes a turn off its session.
    fn leave(&mut self, turn: TurnId) -> Option<(SessionKey, Waiting)> {
        let key = self.turns.remove(&turn)?;
        let (_, current) = self.sessions.get_mut(&key)?.current.take()?;
        Some((key, current))
    }

    fn forget_idle(&mut self, key: &SessionKey) {
        if self.sessions.get(key).is_some_and(|session| session.current.is_none() && session.queue.is_empty()) {
            self.sessions.remove(key);
        }
    }

    /// Puts a session into the line if its first event can run, and lets the line advance.
    fn stand_in_line(&mut self, key: &SessionKey) -> Vec<Step> {
        // Events that just arrived get the gate's own word, not what was last heard of it.
        let open = self.is_open(key.profile());
        if let Some(session) = self.sessions.get_mut(key)
            && session.current.is_none()
            && !session.in_line
            && session.queue.front().is_some_and(|first| open || !first.waited || first.origin == Origin::Internal)
        {
            session.in_line = true;
            self.line.push_back(key.clone());
        }
        self.advance(Vec::new())
    }

    fn advance(&mut self, mut steps: Vec<Step>) -> Vec<Step> {
        while self.turns.len() < self.max_turns
            && let Some(key) = self.line.pop_front()
        {
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            session.in_line = false;
            let Some(first) = session.queue.pop_front() else { continue };
            let turn = TurnId::fresh();
            session.current = Some((turn, first));
            session.asked_at = self.moves;
            self.turns.insert(turn, key);
            steps.push(Step::Ask(turn, first.event));
        }
        // Whoever is left in line was taken and now waits: a drain may not refuse it any more.
        for key in &self.line {
            if let Some(first) = self.sessions.get_mut(key).and_then(|session| session.queue.front_mut()) {
                first.waited = true;
            }
        }
        steps
    }
}

#[cfg(test)]
mod tests;
