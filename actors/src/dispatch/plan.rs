//! Which event runs next: one turn at a time in a session, so many at once over all, none through a closed gate.
//!
//! Knows events by their row in the ledger only; what they say is kept beside it by the actor.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use crate::drain::messages::Refusal;
use crate::ledger::messages::InboundId;
use crate::profile::name::ProfileName;
use crate::relay::session::SessionKey;
use crate::settings::Busy;
use crate::turn::id::TurnId;

/// Most events that wait behind the running turn of one session.
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
    /// Hand the event to this running turn; one that does not take it comes back by [`Plan::not_steered`].
    Steer(TurnId, InboundId),
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
    current: Option<(TurnId, InboundId)>,
    /// Whether the current event has waited in the queue, and so was taken before a drain that refuses it now.
    current_waited: bool,
    /// The moves of the gate that were known when it was asked about the current event.
    asked_at: u64,
    in_line: bool,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    event: InboundId,
    waited: bool,
}

impl Plan {
    pub(super) fn new(busy: Busy, max_turns: usize) -> Self {
        Self {
            busy,
            max_turns,
            sessions: HashMap::new(),
            line: VecDeque::new(),
            turns: HashMap::new(),
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
        let mut steps = Vec::new();
        match session.current {
            None => session.queue.push_back(Waiting { event, waited: !session.queue.is_empty() }),
            Some((turn, _)) => match self.busy {
                Busy::Reject => {
                    self.known.remove(&event);
                    return vec![Step::Busy(event)];
                }
                Busy::Steer => return vec![Step::Steer(turn, event)],
                Busy::Queue | Busy::Interrupt => {
                    if session.queue.len() >= MAX_QUEUE {
                        self.known.remove(&event);
                        return vec![Step::Overflow(event)];
                    }
                    session.queue.push_back(Waiting { event, waited: true });
                    // No running turn is stopped for one that may not start.
                    if self.busy == Busy::Interrupt && open {
                        steps.push(Step::Interrupt(turn));
                    }
                }
            },
        }
        steps.extend(self.stand_in_line(key));
        steps
    }

    /// An event that was taken before this dispatcher came up, or is to run again: it waits like any other.
    pub(super) fn restored(&mut self, event: InboundId, key: &SessionKey) -> Vec<Step> {
        if !self.known.insert(event) {
            return Vec::new();
        }
        self.sessions.entry(key.clone()).or_default().queue.push_back(Waiting { event, waited: true });
        self.stand_in_line(key)
    }

    /// A turn that was running before this dispatcher came up.
    pub(super) fn adopted(&mut self, turn: TurnId, event: InboundId, key: &SessionKey) {
        self.known.insert(event);
        self.turns.insert(turn, key.clone());
        self.sessions.entry(key.clone()).or_default().current = Some((turn, event));
    }

    /// A steered event that the running turn did not take: it waits.
    pub(super) fn not_steered(&mut self, event: InboundId, key: &SessionKey) -> Vec<Step> {
        self.known.remove(&event);
        self.restored(event, key)
    }

    /// A steered event that the running turn took.
    pub(super) fn steered(&mut self, event: InboundId) {
        self.known.remove(&event);
    }

    /// The gate refused a turn.
    pub(super) fn refused(&mut self, turn: TurnId, why: Refusal, hold: bool) -> Vec<Step> {
        let Some((key, event, waited)) = self.leave(turn) else { return Vec::new() };
        let Some(session) = self.sessions.get_mut(&key) else { return Vec::new() };
        match why {
            // What was acknowledged and queued before the drain keeps its place.
            Refusal::Draining if waited || hold => {
                session.queue.push_front(Waiting { event, waited: true });
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
                session.queue.push_front(Waiting { event, waited: true });
                self.closed = true;
                Vec::new()
            }
            // A new gate is up or coming.
            Refusal::Superseded => {
                session.queue.push_front(Waiting { event, waited });
                self.stand_in_line(&key)
            }
        }
    }

    /// A turn is over, or could not be started.
    pub(super) fn ended(&mut self, turn: TurnId) -> Vec<Step> {
        let Some((key, event, _)) = self.leave(turn) else { return Vec::new() };
        self.known.remove(&event);
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
        let keys: Vec<_> = self.sessions.keys().cloned().collect();
        keys.iter().flat_map(|key| self.stand_in_line(key)).collect()
    }

    /// The event that a turn runs.
    pub(super) fn event_of(&self, turn: TurnId) -> Option<InboundId> {
        let session = self.sessions.get(self.turns.get(&turn)?)?;
        session.current.filter(|(current, _)| *current == turn).map(|(_, event)| event)
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
    fn leave(&mut self, turn: TurnId) -> Option<(SessionKey, InboundId, bool)> {
        let key = self.turns.remove(&turn)?;
        let session = self.sessions.get_mut(&key)?;
        let (_, event) = session.current.take()?;
        Some((key, event, session.current_waited))
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
            && session.queue.front().is_some_and(|first| open || !first.waited)
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
            session.current = Some((turn, first.event));
            session.current_waited = first.waited;
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
mod tests {
    use super::*;
    use crate::relay::event::Source;
    use crate::relay::session::SessionRules;

    fn session(chat: &str) -> SessionKey {
        let source =
            Source { platform: "discord".into(), chat_type: "dm".into(), chat_id: chat.into(), ..Source::default() };
        SessionKey::new(&source, &ProfileName::default_profile(), SessionRules::default())
    }

    fn asked(steps: &[Step]) -> Vec<i64> {
        let row = |step: &Step| if let Step::Ask(_, event) = step { Some(event.0) } else { None };
        steps.iter().filter_map(row).collect()
    }

    fn turn(steps: &[Step]) -> TurnId {
        let turn = |step: &Step| if let Step::Ask(turn, _) = step { Some(*turn) } else { None };
        steps.iter().find_map(turn).expect("a turn was asked for")
    }

    #[test]
    fn a_session_runs_one_event_at_a_time_in_order() {
        let mut plan = Plan::new(Busy::Queue, 8);
        let first = plan.arrived(InboundId(1), &session("a"));
        assert_eq!(asked(&first), [1]);
        assert_eq!(plan.arrived(InboundId(2), &session("a")), []);
        assert_eq!(plan.arrived(InboundId(3), &session("a")), []);
        let second = plan.ended(turn(&first));
        assert_eq!(asked(&second), [2]);
        assert_eq!(asked(&plan.ended(turn(&second))), [3]);
    }

    #[test]
    fn sessions_do_not_wait_for_each_other() {
        let mut plan = Plan::new(Busy::Queue, 8);
        assert_eq!(asked(&plan.arrived(InboundId(1), &session("a"))), [1]);
        assert_eq!(asked(&plan.arrived(InboundId(2), &session("b"))), [2]);
    }

    #[test]
    fn turns_above_the_limit_wait_in_order() {
        let mut plan = Plan::new(Busy::Queue, 1);
        let first = plan.arrived(InboundId(1), &session("a"));
        assert_eq!(plan.arrived(InboundId(2), &session("b")), []);
        assert_eq!(plan.arrived(InboundId(3), &session("c")), []);
        let second = plan.ended(turn(&first));
        assert_eq!(asked(&second), [2]);
        assert_eq!(asked(&plan.ended(turn(&second))), [3]);
    }

    #[test]
    fn a_limit_that_rises_lets_the_line_go_on_and_one_that_falls_stops_nobody() {
        let mut plan = Plan::new(Busy::Queue, 1);
        let first = plan.arrived(InboundId(1), &session("a"));
        plan.arrived(InboundId(2), &session("b"));
        plan.arrived(InboundId(3), &session("c"));
        assert_eq!(asked(&plan.rule(Busy::Queue, 2)), [2]);
        assert_eq!(plan.rule(Busy::Reject, 1), []);
        assert_eq!(plan.ended(turn(&first)), [], "one of two still runs");
        assert_eq!(plan.arrived(InboundId(4), &session("b")), [Step::Busy(InboundId(4))]);
    }

    #[test]
    fn a_message_that_comes_during_a_drain_is_refused_and_a_queued_one_is_held() {
        let mut plan = Plan::new(Busy::Queue, 8);
        let running = plan.arrived(InboundId(1), &session("a"));
        plan.arrived(InboundId(2), &session("a"));
        plan.gate(true, []);
        let fresh = plan.arrived(InboundId(3), &session("b"));
        assert_eq!(plan.refused(turn(&fresh), Refusal::Draining, false), [Step::Refuse(InboundId(3))]);
        assert_eq!(plan.ended(turn(&running)), []);
        assert_eq!(plan.counts(), (1, 0, 0, 1));
        assert_eq!(asked(&plan.gate(false, [])), [2]);
    }

    #[test]
    fn a_queued_event_that_the_gate_refuses_before_its_news_came_is_held_too() {
        let mut plan = Plan::new(Busy::Queue, 8);
        let running = plan.arrived(InboundId(1), &session("a"));
        plan.arrived(InboundId(2), &session("a"));
        let second = plan.ended(turn(&running));
        assert_eq!(plan.refused(turn(&second), Refusal::Draining, false), [Step::Hold(InboundId(2))]);
        assert_eq!(asked(&plan.gate(false, [])), [2]);
    }

    #[test]
    fn a_refusal_that_comes_after_the_end_of_its_drain_closes_nothing() {
        let mut plan = Plan::new(Busy::Queue, 8);
        let running = plan.arrived(InboundId(1), &session("a"));
        plan.arrived(InboundId(2), &session("a"));
        let second = plan.ended(turn(&running));
        plan.gate(true, []);
        plan.gate(false, []);
        let again = plan.refused(turn(&second), Refusal::Draining, false);
        assert_eq!(asked(&again), [2], "it is asked again");
        assert!(plan.is_open(&ProfileName::default_profile()));
        plan.gate(true, []);
        assert_eq!(plan.refused(turn(&again), Refusal::Draining, false), [Step::Hold(InboundId(2))]);
    }

    #[test]
    fn an_event_is_on_the_books_once() {
        let mut plan = Plan::new(Busy::Queue, 8);
        let first = plan.restored(InboundId(1), &session("a"));
        assert_eq!(asked(&first), [1]);
        assert_eq!(plan.arrived(InboundId(1), &session("a")), []);
    }

    #[test]
    fn a_session_with_too_much_waiting_overflows() {
        let mut plan = Plan::new(Busy::Queue, 8);
        for row in 1..=33 {
            plan.arrived(InboundId(row), &session("a"));
        }
        assert_eq!(plan.arrived(InboundId(34), &session("a")), [Step::Overflow(InboundId(34))]);
    }

    #[test]
    fn busy_settings_decide_what_a_second_message_does() {
        for (busy, expected) in [(Busy::Reject, Step::Busy(InboundId(2))), (Busy::Queue, Step::Hold(InboundId(0)))] {
            let mut plan = Plan::new(busy, 8);
            plan.arrived(InboundId(1), &session("a"));
            let steps = plan.arrived(InboundId(2), &session("a"));
            assert_eq!(steps.first().copied().unwrap_or(Step::Hold(InboundId(0))), expected, "{busy:?}");
        }
        let mut plan = Plan::new(Busy::Interrupt, 8);
        let first = plan.arrived(InboundId(1), &session("a"));
        assert_eq!(plan.arrived(InboundId(2), &session("a")), [Step::Interrupt(turn(&first))]);
        plan.gate(true, []);
        assert_eq!(plan.arrived(InboundId(3), &session("a")), [], "no turn is stopped for one that may not start");
    }

    #[test]
    fn a_steered_event_that_is_not_taken_waits_its_turn() {
        let mut plan = Plan::new(Busy::Steer, 8);
        let first = plan.arrived(InboundId(1), &session("a"));
        assert_eq!(plan.arrived(InboundId(2), &session("a")), [Step::Steer(turn(&first), InboundId(2))]);
        assert_eq!(plan.not_steered(InboundId(2), &session("a")), []);
        assert_eq!(asked(&plan.ended(turn(&first))), [2]);
    }

    #[test]
    fn an_adopted_turn_keeps_its_session_busy() {
        let mut plan = Plan::new(Busy::Queue, 8);
        let running = TurnId::fresh();
        plan.adopted(running, InboundId(1), &session("a"));
        assert_eq!(plan.restored(InboundId(2), &session("a")), []);
        assert_eq!(plan.event_of(running), Some(InboundId(1)));
        assert_eq!(asked(&plan.ended(running)), [2]);
    }

    #[test]
    fn a_refusal_by_a_superseded_gate_is_asked_again() {
        let mut plan = Plan::new(Busy::Queue, 8);
        let first = plan.arrived(InboundId(1), &session("a"));
        assert_eq!(asked(&plan.refused(turn(&first), Refusal::Superseded, false)), [1]);
    }

    #[test]
    fn idle_sessions_are_forgotten() {
        let mut plan = Plan::new(Busy::Queue, 8);
        for row in 0..100 {
            let steps = plan.arrived(InboundId(row), &session(&row.to_string()));
            plan.ended(turn(&steps));
        }
        assert_eq!(plan.counts(), (0, 0, 0, 0));
    }
}
