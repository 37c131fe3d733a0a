//! Which event runs next: one turn at a time in a session, so many at once over all, none through a closed gate, and none that
//! waited before its link is up.
//!
//! Knows events by their row in the ledger only; what they say stays there until their turn. Nothing here costs more with more
//! sessions or events, and no call answers more than [`SLICE`] starts: what is left is asked for with [`DispatchPlan::go_on`].

mod coming; // How events come onto the books.
mod lines; // Who is next for a place.
mod session; // What waits in one conversation.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::drain::messages::{Origin, Refusal};
use crate::ledger::messages::InboundId;
use crate::profile::name::ProfileName;
use crate::relay::messages::LinkId;
use crate::relay::session::SessionKey;
use crate::settings::Busy;
use crate::turn::id::TurnId;
use crate::turn::messages::StopCause;
pub(super) use lines::Counts;
use lines::{LineId, Lines};
use session::{Current, Queue, Session, Waiting};

/// Most events that wait in one session.
const MAX_QUEUE: usize = 32;
/// Most turns that are asked for at once: whoever carries them out has other things to do in between.
const SLICE: usize = 64;

/// What is to be done, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DispatchStep {
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
    /// Hand the event to this running turn; one that does not take it comes back by [`DispatchPlan::not_steered`], as one that came
    /// while the gate was closed if the last is true.
    Steer(TurnId, InboundId, bool),
    /// The event waits for the gate; the chat is told if it came while that was closed, which the last says.
    Hold(InboundId, bool),
}

/// Sessions, their queues and the lines for a place.
#[derive(Debug)]
pub(super) struct DispatchPlan {
    busy: Busy,
    max_turns: usize,
    /// Nothing starts: not everything that waits is known yet, or the process goes down.
    paused: bool,
    sessions: HashMap<Arc<SessionKey>, Session>,
    lines: Lines,
    /// Turns that have a place: asked for, starting or running.
    turns: HashMap<TurnId, Arc<SessionKey>>,
    /// The same by their session's key as the wire has it: two sessions can read the same.
    by_text: HashMap<String, Vec<TurnId>>,
    /// Events that a running turn took besides its own.
    steered: HashMap<TurnId, Vec<InboundId>>,
    /// Events on the books, so that none gets on them twice.
    known: HashSet<InboundId>,
    /// Counts the news of the gate; a refusal asked for before the last one is older than it.
    moves: u64,
}

impl DispatchPlan {
    /// A plan that starts nothing until [`DispatchPlan::open`].
    pub(super) fn new(busy: Busy, max_turns: usize) -> Self {
        Self {
            busy,
            max_turns,
            paused: true,
            sessions: HashMap::new(),
            lines: Lines::new(),
            turns: HashMap::new(),
            by_text: HashMap::new(),
            steered: HashMap::new(),
            known: HashSet::new(),
            moves: 0,
        }
    }

    /// Everything that waits is known: from now on turns start.
    pub(super) fn open(&mut self) -> Vec<DispatchStep> {
        self.paused = false;
        self.go_on()
    }

    /// From now on these hold. A limit that rose lets those in line go on; one that fell stops nobody.
    pub(super) fn rule(&mut self, busy: Busy, max_turns: usize) -> Vec<DispatchStep> {
        self.busy = busy;
        self.max_turns = max_turns;
        self.go_on()
    }

    /// Whether the gate, as last heard, lets a new turn of `profile` through.
    pub(super) fn is_open(&self, profile: &ProfileName) -> bool {
        self.lines.is_open(profile)
    }

    /// Whether the event is on the books.
    pub(super) fn knows(&self, event: InboundId) -> bool {
        self.known.contains(&event)
    }

    /// The gate refused a turn.
    pub(super) fn refused(&mut self, turn: TurnId, why: Refusal, hold: bool) -> Vec<DispatchStep> {
        let Some((key, current)) = self.leave(turn) else { return Vec::new() };
        let Current { line, waiting, asked_at, .. } = current;
        let Waiting { event, waited, .. } = waiting;
        let put_back = Waiting { waited: true, ..waiting };
        let mut steps = Vec::new();
        match why {
            // What was acknowledged and queued before the drain keeps its place.
            Refusal::Draining if waited || hold => {
                if asked_at == self.moves && self.is_open(key.profile()) {
                    // The gate has spoken; its news is still on the way.
                    self.lines.close_profile(key.profile());
                }
                // The news can also have come first, and that of the drain's end with it: then nothing else would ask again.
                let shut = !self.is_open(key.profile());
                steps.extend(shut.then_some(DispatchStep::Hold(event, !waited)));
                self.put_back(&key, line, put_back);
            }
            Refusal::Draining => {
                self.known.remove(&event);
                steps.push(DispatchStep::Refuse(event));
                self.stand_again(&key, false);
            }
            // It lies in the ledger and runs after the restart.
            Refusal::Stopping => {
                self.paused = true;
                self.lines.close_all();
                self.put_back(&key, line, put_back);
            }
            // A new gate is up or coming.
            Refusal::Superseded if !waited && self.has_place() => steps.push(self.start(&key, line, waiting)),
            Refusal::Superseded => self.put_back(&key, line, put_back),
        }
        steps.extend(self.go_on());
        steps
    }

    /// The link of a turn's event went down before the turn could start: the event waits for it.
    pub(super) fn no_link(&mut self, turn: TurnId) -> Vec<DispatchStep> {
        if let Some((key, Current { line, waiting, .. })) = self.leave(turn) {
            self.put_back(&key, line, Waiting { waited: true, ..waiting });
        }
        self.go_on()
    }

    /// A turn is over, or could not be started.
    pub(super) fn ended(&mut self, turn: TurnId) -> Vec<DispatchStep> {
        self.drop_turn(turn);
        self.go_on()
    }

    /// The same without a look at who is next: [`DispatchPlan::go_on`] is to follow.
    pub(super) fn drop_turn(&mut self, turn: TurnId) {
        if let Some((key, current)) = self.leave(turn) {
            self.known.remove(&current.waiting.event);
            self.stand_again(&key, true);
        }
    }

    /// The gate moved.
    pub(super) fn gate(&mut self, closed: bool, profiles: impl IntoIterator<Item = ProfileName>) -> Vec<DispatchStep> {
        self.moves += 1;
        self.lines.set_gate(closed, profiles.into_iter().collect());
        self.go_on()
    }

    /// A link came up and said what it can do, or went down.
    pub(super) fn link(&mut self, link: &LinkId, open: bool) -> Vec<DispatchStep> {
        self.lines.set_link(link, open);
        self.go_on()
    }

    /// Those who are next, at most [`SLICE`] of them.
    pub(super) fn go_on(&mut self) -> Vec<DispatchStep> {
        let mut steps = Vec::new();
        while steps.len() < SLICE
            && self.has_place()
            && let Some(key) = self.lines.next()
        {
            let Some(step) = self.start_first(&key) else { break };
            steps.push(step);
        }
        steps
    }

    /// Whether [`DispatchPlan::go_on`] has something to answer.
    pub(super) fn has_more(&mut self) -> bool {
        self.has_place() && self.lines.has_next()
    }

    /// The event that a turn runs.
    pub(super) fn event_of(&self, turn: TurnId) -> Option<InboundId> {
        self.current(turn).map(|current| current.waiting.event)
    }

    /// Who wants the event that a turn runs.
    pub(super) fn origin_of(&self, turn: TurnId) -> Option<Origin> {
        self.current(turn).map(|current| current.waiting.origin)
    }

    /// The session of a turn.
    pub(super) fn session_of(&self, turn: TurnId) -> Option<Arc<SessionKey>> {
        self.turns.get(&turn).cloned()
    }

    /// Has a turn that is being started stopped as soon as there is a way in. `false` if there is no such turn.
    pub(super) fn stop_once_started(&mut self, turn: TurnId, cause: StopCause) -> bool {
        let current = self.current_mut(turn);
        current.map(|current| current.unwanted = Some(cause)).is_some()
    }

    /// Whether a turn is to stop that had not started when that was said; said once.
    pub(super) fn take_unwanted(&mut self, turn: TurnId) -> Option<StopCause> {
        self.current_mut(turn)?.unwanted.take()
    }

    /// The turn of a session.
    pub(super) fn turn_in(&self, session: &SessionKey) -> Option<TurnId> {
        self.sessions.get(session)?.current.as_ref().map(|current| current.turn)
    }

    /// The turns of every session whose key reads so, as the wire has it.
    pub(super) fn turns_of(&self, text: &str) -> Vec<TurnId> {
        self.by_text.get(text).cloned().unwrap_or_default()
    }

    /// Sessions with work.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Turns with a place.
    pub(super) fn places(&self) -> usize {
        self.turns.len()
    }

    /// Events that wait.
    pub(super) fn counts(&self) -> Counts {
        self.lines.counts()
    }

    fn has_place(&self) -> bool {
        !self.paused && self.turns.len() < self.max_turns
    }

    fn current(&self, turn: TurnId) -> Option<&Current> {
        let current = self.sessions.get(self.turns.get(&turn)?)?.current.as_deref();
        current.filter(|current| current.turn == turn)
    }

    fn current_mut(&mut self, turn: TurnId) -> Option<&mut Current> {
        let current = self.sessions.get_mut(self.turns.get(&turn)?)?.current.as_deref_mut();
        current.filter(|current| current.turn == turn)
    }

    /// Puts an event into the queue of its session and link, where `at` says, and the session in line.
    fn wait(
        &mut self,
        key: &Arc<SessionKey>,
        line: LineId,
        waiting: Waiting,
        at: impl FnOnce(&VecDeque<Waiting>) -> usize,
    ) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let number = session.queues.iter().position(|queue| queue.line == line).unwrap_or_else(|| {
            session.queues.push(Queue { line, events: VecDeque::with_capacity(1), place: None });
            session.queues.len() - 1
        });
        let events = &mut session.queues[number].events;
        events.insert(at(events), waiting);
        self.lines.count(line, 1);
        self.stand_again(key, false);
    }

    /// Puts an event that was next back where it was. What a drain does not hold back does not wait behind what it does.
    fn put_back(&mut self, key: &Arc<SessionKey>, line: LineId, waiting: Waiting) {
        self.wait(key, line, waiting, |queue| match waiting.origin {
            Origin::Internal => 0,
            Origin::External => queue.partition_point(|first| first.origin == Origin::Internal),
        });
    }

    /// Puts a session where it belongs: in line for its first events, or nowhere if it runs one.
    fn stand_again(&mut self, key: &Arc<SessionKey>, has_run: bool) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let idle = session.current.is_none();
        for queue in &mut session.queues {
            let first = queue.events.front().filter(|_| idle);
            let stands = queue.place.map(|(place, origin)| (place, origin, queue.line));
            if let (Some(first), Some((_, origin, _))) = (first, stands)
                && first.origin == origin
            {
                // Where it stands it stays, whatever comes behind it.
                continue;
            }
            if let Some((place, origin, line)) = stands {
                self.lines.step_out(line, place, origin);
                queue.place = None;
            }
            if let Some(first) = first {
                let place = self.lines.place(queue.line, first.event, first.origin, has_run);
                self.lines.stand(queue.line, place, first.origin, Arc::clone(key));
                queue.place = Some((place, first.origin));
            }
        }
        session.queues.retain(|queue| !queue.events.is_empty());
        self.forget_idle(key);
    }

    /// Starts the first event of a session that may run, whichever link it came over.
    fn start_first(&mut self, key: &Arc<SessionKey>) -> Option<DispatchStep> {
        let lines = &self.lines;
        let session = self.sessions.get_mut(key)?;
        let order = |queue: &Queue| {
            let first = queue.events.front()?;
            lines.lets(queue.line, first.origin).then_some((first.origin == Origin::External, first.event))
        };
        let queue =
            session.queues.iter_mut().filter(|queue| order(queue).is_some()).min_by_key(|queue| order(queue))?;
        let (line, first) = (queue.line, queue.events.pop_front()?);
        self.lines.count(line, -1);
        Some(self.start(key, line, first))
    }

    fn start(&mut self, key: &Arc<SessionKey>, line: LineId, waiting: Waiting) -> DispatchStep {
        let turn = TurnId::fresh();
        self.take_place(turn, key, line, waiting);
        DispatchStep::Ask(turn, waiting.event)
    }

    fn take_place(&mut self, turn: TurnId, key: &Arc<SessionKey>, line: LineId, waiting: Waiting) {
        let asked_at = self.moves;
        if let Some(session) = self.sessions.get_mut(key) {
            session.current = Some(Box::new(Current { turn, line, waiting, asked_at, unwanted: None }));
        }
        self.turns.insert(turn, Arc::clone(key));
        self.by_text.entry(key.text()).or_default().push(turn);
        self.stand_again(key, false);
    }

    /// Takes a turn off its session.
    fn leave(&mut self, turn: TurnId) -> Option<(Arc<SessionKey>, Current)> {
        let key = self.turns.remove(&turn)?;
        let text = key.text();
        if let Some(turns) = self.by_text.get_mut(&text) {
            turns.retain(|other| *other != turn);
            if turns.is_empty() {
                self.by_text.remove(&text);
            }
        }
        let current = self.sessions.get_mut(&key)?.current.take_if(|current| current.turn == turn)?;
        Some((key, *current))
    }

    fn forget_idle(&mut self, key: &SessionKey) {
        if self.sessions.get(key).is_some_and(|session| session.current.is_none() && session.queues.is_empty()) {
            self.sessions.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
