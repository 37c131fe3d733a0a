//! What a supervisor does next. Plain: no actors, no clock, no dice; it takes an event and returns steps.
//!
//! Children start in order, each once those before it are ready, and stop in reverse, one at a time. A *roll* is
//! the stop and start of several children because one of them fell; exits of its members do not count.

mod words; // What goes in and what comes out.

use std::time::{Duration, Instant};

use crate::supervision::exit::ExitReason;
use crate::supervision::messages::Order;
use crate::supervision::policy::{Budget, Verdict, WhenSpent};
use crate::supervision::spec::{Restart, Strategy};

pub(in crate::supervision) use words::{Event, Key, Spent, State, Step, Terms, Then, Timer};

/// How long a killed child may take to be dropped before it counts as gone: its thread may be busy with another.
const KILL_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(in crate::supervision) struct Plan {
    strategy: Strategy,
    children: Vec<Child>,
    closing: Option<Closing>,
    finished: bool,
    /// Next key or run.
    next: u64,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
struct Closing {
    reason: ExitReason,
    spent: Option<Spent>,
}

#[derive(Debug)]
pub(in crate::supervision) struct Child {
    key: Key,
    terms: Terms,
    budget: Budget,
    state: State,
    /// The present incarnation, or the last.
    run: u64,
    /// Since when it has been ready.
    ready_at: Option<Instant>,
    due: Option<Instant>,
    /// Part of a start in order that has not got past it.
    in_sequence: bool,
    /// Part of a roll that has not stopped it yet.
    rolling: bool,
    changed: bool,
}

impl Plan {
    pub(in crate::supervision) fn new(strategy: Strategy) -> Self {
        Self { strategy, children: Vec::new(), closing: None, finished: false, next: 0, steps: Vec::new() }
    }

    /// Adds a child at the end of the order; the next event starts it. One added before [`Event::Start`] waits for
    /// those before it.
    pub(in crate::supervision) fn add(&mut self, terms: Terms) -> Key {
        let key = self.number();
        let budget = Budget::new(terms.policy);
        self.children.push(Child {
            key,
            terms,
            budget,
            state: State::Queued,
            run: 0,
            ready_at: None,
            due: None,
            in_sequence: false,
            rolling: false,
            changed: true,
        });
        key
    }

    pub(in crate::supervision) fn on(&mut self, event: Event, now: Instant, random: f64) -> Vec<Step> {
        match event {
            Event::Start => self.children.iter_mut().for_each(|child| child.in_sequence = true),
            Event::Added => {}
            Event::Ready { run } => self.ready(run, now),
            Event::Ended { run, reason } => {
                if let Some(at) = self.live(run) {
                    self.ended(at, reason, now, random);
                }
            }
            Event::Due(timer) => self.due(timer, now, random),
            Event::Order { key, order } => {
                if let Some(at) = self.position(key) {
                    self.order(at, order);
                }
            }
            Event::Remove { key } => {
                if let Some(at) = self.position(key) {
                    self.children[at].terms.restart = Restart::Temporary;
                    self.order(at, Order::Stop);
                }
            }
            Event::Shutdown => self.close(ExitReason::Asked, None),
        }
        self.advance();
        std::mem::take(&mut self.steps)
    }

    /// The child whose present incarnation is `run`.
    pub(in crate::supervision) fn key_of(&self, run: u64) -> Option<Key> {
        self.live(run).map(|at| self.children[at].key)
    }

    /// What the end of `run` means: a child that was stopped for being late ended in error, whatever it says itself.
    pub(in crate::supervision) fn meaning(&self, run: u64, reason: ExitReason) -> ExitReason {
        match self.live(run).map(|at| self.children[at].state) {
            Some(State::Stopping(Then::JudgeLate)) => ExitReason::Error("it was not ready in time".to_owned()),
            _ => reason,
        }
    }

    pub(in crate::supervision) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub(in crate::supervision) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether the start in order is through.
    pub(in crate::supervision) fn is_settled(&self) -> bool {
        self.children.iter().all(|child| !child.in_sequence)
    }

    /// The children that have changed since the last call.
    pub(in crate::supervision) fn changed(&mut self) -> impl Iterator<Item = &Child> {
        self.children.iter_mut().filter_map(|child| std::mem::take(&mut child.changed).then_some(&*child))
    }

    fn ready(&mut self, run: u64, now: Instant) {
        let Some(at) = self.live(run) else { return };
        let child = &mut self.children[at];
        if child.state == State::Starting {
            child.turn(State::Running);
            child.ready_at = Some(now);
            child.in_sequence = false;
        }
    }

    fn ended(&mut self, at: usize, reason: ExitReason, now: Instant, random: f64) {
        let child = &mut self.children[at];
        let state = child.state;
        let rolled = std::mem::take(&mut child.rolling);
        let ran_for = child.ready_at.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if self.closing.is_some() || state == State::Stopping(Then::Down) {
            return self.rest(at);
        }
        match (state, rolled) {
            (_, true) if child.terms.restart == Restart::Temporary => self.rest(at),
            (_, true) if !matches!(reason, ExitReason::Fatal(_)) => {
                child.in_sequence = true;
                child.turn(State::Queued);
            }
            (State::Stopping(Then::Up), _) if !matches!(reason, ExitReason::Fatal(_)) => child.turn(State::Queued),
            _ => self.judge(at, reason, ran_for, now, random),
        }
    }

    /// Decides about a child that ended of itself.
    fn judge(&mut self, at: usize, reason: ExitReason, ran_for: Duration, now: Instant, random: f64) {
        let restart = self.children[at].terms.restart;
        if restart == Restart::Temporary {
            return self.rest(at);
        }
        match reason {
            ExitReason::Normal | ExitReason::Asked if restart == Restart::Transient => self.rest(at),
            ExitReason::Normal
            | ExitReason::Asked
            | ExitReason::Panic(_)
            | ExitReason::Error(_)
            | ExitReason::Killed
            | ExitReason::Wedged => self.raise(at, reason, ran_for, now, random),
            ExitReason::Fatal(_) => self.settle(at, State::Failed),
        }
    }

    /// Starts a fallen child again, as its budget and the strategy have it.
    fn raise(&mut self, at: usize, reason: ExitReason, ran_for: Duration, now: Instant, random: f64) {
        let child = &mut self.children[at];
        match child.budget.spend(ran_for, now, random) {
            Verdict::After(Duration::ZERO) => child.turn(State::Queued),
            Verdict::After(length) => {
                child.turn(State::Backoff);
                child.due = Some(now + length);
                let (key, timer) = (child.key, Timer::Backoff(child.run));
                self.steps.push(Step::Wait { key, length, timer });
            }
            Verdict::Spent => {
                let (id, when) = (child.terms.id.clone(), child.budget.when_spent());
                self.settle(at, State::Failed);
                if when == WhenSpent::Escalate {
                    let text = format!("the restarts of {id} are spent; it last ended with {reason}");
                    self.close(ExitReason::Error(text), Some(Spent { id, reason }));
                }
                return;
            }
        }
        self.roll(at);
    }

    /// Makes those fall that fall with `fallen`.
    fn roll(&mut self, fallen: usize) {
        let from = match self.strategy {
            Strategy::OneForOne => return,
            Strategy::OneForAll => 0,
            Strategy::RestForOne => fallen,
        };
        self.children[fallen].in_sequence = true;
        for (at, child) in self.children.iter_mut().enumerate().skip(from) {
            match child.state {
                _ if at == fallen => {}
                State::Starting | State::Running | State::Stopping(Then::Up | Then::JudgeLate) => child.rolling = true,
                State::Queued | State::Backoff => {
                    child.in_sequence = true;
                    child.turn(State::Queued);
                }
                State::Stopping(Then::Down) | State::Down | State::Failed => {}
            }
        }
    }

    fn due(&mut self, timer: Timer, now: Instant, random: f64) {
        let (Timer::Backoff(run) | Timer::Grace(run) | Timer::Kill(run) | Timer::Late(run)) = timer;
        let Some(at) = self.children.iter().position(|child| child.run == run) else { return };
        let child = &mut self.children[at];
        let key = child.key;
        match (timer, child.state) {
            (Timer::Backoff(_), State::Backoff) => child.turn(State::Queued),
            (Timer::Late(_), State::Starting) => self.stop(at, Then::JudgeLate),
            (Timer::Grace(_), State::Stopping(_)) => {
                self.steps.push(Step::Kill { key });
                self.steps.push(Step::Wait { key, length: KILL_PATIENCE, timer: Timer::Kill(run) });
            }
            (Timer::Kill(_), State::Stopping(_)) => {
                self.steps.push(Step::Abandon { key });
                self.ended(at, ExitReason::Killed, now, random);
            }
            _ => {}
        }
    }

    fn order(&mut self, at: usize, order: Order) {
        let child = &mut self.children[at];
        match (order, child.state) {
            (Order::Restart, State::Starting | State::Running) => self.stop(at, Then::Up),
            (Order::Restart, State::Stopping(_)) => child.turn(State::Stopping(Then::Up)),
            (Order::Restart, State::Backoff | State::Down | State::Failed) => child.turn(State::Queued),
            (Order::Stop, State::Starting | State::Running) => {
                child.rolling = false;
                self.stop(at, Then::Down);
            }
            (Order::Stop, State::Stopping(_)) => {
                child.rolling = false;
                child.turn(State::Stopping(Then::Down));
            }
            (Order::Stop, State::Queued | State::Backoff | State::Down | State::Failed) => self.rest(at),
            (Order::Reset, state) => {
                child.budget.reset();
                child.changed = true;
                if matches!(state, State::Backoff | State::Failed) {
                    child.turn(State::Queued);
                }
            }
            (Order::Restart, State::Queued) => {}
        }
    }

    /// Begins the end; the first reason counts.
    fn close(&mut self, reason: ExitReason, spent: Option<Spent>) {
        self.closing.get_or_insert(Closing { reason, spent });
    }

    /// Takes whatever steps the present state allows.
    fn advance(&mut self) {
        if let Some(closing) = self.closing.clone() {
            return self.wind_down(closing);
        }
        if let Some(at) = self.children.iter().rposition(|child| child.rolling)
            && !matches!(self.children[at].state, State::Stopping(_))
        {
            self.stop(at, Then::Up);
        }
        let rolling = self.children.iter().any(|child| child.rolling);
        let waiting = self.children.iter().any(|child| child.in_sequence && child.state == State::Backoff);
        let mut clear = !rolling && !waiting;
        for at in 0..self.children.len() {
            let child = &self.children[at];
            if child.state == State::Queued && (clear || !child.in_sequence) {
                self.launch(at);
            }
            clear &= !self.children[at].in_sequence;
        }
    }

    fn wind_down(&mut self, closing: Closing) {
        for at in 0..self.children.len() {
            if matches!(self.children[at].state, State::Queued | State::Backoff) {
                self.settle(at, State::Down);
            }
        }
        match self.children.iter().rposition(|child| child.state.is_live()) {
            Some(at) if matches!(self.children[at].state, State::Stopping(_)) => {}
            Some(at) => self.stop(at, Then::Down),
            None if self.finished => {}
            None => {
                self.finished = true;
                self.steps.push(Step::Finish { reason: closing.reason, spent: closing.spent });
            }
        }
    }

    fn launch(&mut self, at: usize) {
        let run = self.number();
        let child = &mut self.children[at];
        child.run = run;
        child.turn(State::Starting);
        let key = child.key;
        self.steps.push(Step::Launch { key, run });
        if let Some(length) = child.terms.ready_within {
            self.steps.push(Step::Wait { key, length, timer: Timer::Late(run) });
        }
    }

    fn stop(&mut self, at: usize, then: Then) {
        let child = &mut self.children[at];
        child.turn(State::Stopping(then));
        let (key, timer) = (child.key, Timer::Grace(child.run));
        self.steps.push(Step::Stop { key });
        if let Some(length) = child.terms.grace {
            self.steps.push(Step::Wait { key, length, timer });
        }
    }

    /// It stays down; a temporary child leaves the tree.
    fn rest(&mut self, at: usize) {
        self.settle(at, State::Down);
        if self.children[at].terms.restart == Restart::Temporary {
            let child = self.children.remove(at);
            self.steps.push(Step::Forget { key: child.key });
        }
    }

    fn settle(&mut self, at: usize, state: State) {
        let child = &mut self.children[at];
        child.in_sequence = false;
        child.rolling = false;
        child.turn(state);
        self.steps.push(Step::Drain { key: child.key });
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn position(&self, key: Key) -> Option<usize> {
        self.children.iter().position(|child| child.key == key)
    }

    fn live(&self, run: u64) -> Option<usize> {
        self.children.iter().position(|child| child.run == run && child.state.is_live())
    }
}

impl Child {
    pub(in crate::supervision) fn key(&self) -> Key {
        self.key
    }

    pub(in crate::supervision) fn state(&self) -> State {
        self.state
    }

    pub(in crate::supervision) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// When the backoff is over.
    pub(in crate::supervision) fn due(&self) -> Option<Instant> {
        self.due
    }

    fn turn(&mut self, state: State) {
        self.state = state;
        self.due = None;
        self.changed = true;
    }
}

#[cfg(test)]
mod tests;
