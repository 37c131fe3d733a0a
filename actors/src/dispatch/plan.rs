//! Which event runs next: one turn at a time in a session, a limited number over all, none through a closed gate, and none that
//! waited before its link is up.
//!
//! Holds the row numbers of events only; their content stays in the ledger until their turn. No call costs noticeably more with more
//! sessions or events, and none returns more than [`SLICE`] starts: the rest is returned by [`DispatchPlan::start_next`].

mod incoming; // How events enter the plan.
mod lines; // Which session is next for a slot.
mod session; // The waiting events of one session.
mod slots; // How many turns run, over all dispatchers.
mod turns; // The turns that have a slot.
mod waiting; // How many events wait over each link.
mod withdrawing; // How a waiting event leaves the plan without a turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::settings::{SessionValues, Values};
use crate::turn::id::TurnIds;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::drain::{Origin, Refusal};
use caduceus_contract::messages::ledger::InboundId;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::session::SessionKey;
pub(super) use lines::WaitingCounts;
use lines::{LineId, StartLines};
use session::{CurrentTurn, SessionQueue, SessionState, WaitingEvent};
use slots::SlotWait;
pub(super) use slots::{SlotAccess, SlotPlan};
pub(super) use withdrawing::Withdrawal;

/// Most events that wait in one session.
const MAX_QUEUE: usize = 32;
/// Most permits requested at once: the actor handles other messages in between.
const SLICE: usize = 64;

/// The steps for the actor, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DispatchStep {
    /// Request a permit from the gate for this turn of this event.
    RequestPermit(TurnId, InboundId),
    /// Refuse the event: the gate is closed, and the chat is notified.
    Refuse(InboundId),
    /// Refuse it: too many events wait in the session, and the chat is notified.
    Overflow(InboundId),
    /// Refuse it: too many events wait over its link, and the chat is notified.
    LinkFull(InboundId),
    /// Refuse it: the session is busy, and the chat is notified.
    Busy(InboundId),
    /// Stop this turn for the newer message.
    Interrupt(TurnId),
    /// Steer the event into this running turn. If the turn does not accept it, [`DispatchPlan::not_steered`] follows. The last
    /// field: it arrived while the gate was closed.
    Steer(TurnId, InboundId, bool),
    /// The event waits for the gate. The last field: it arrived while the gate was closed, and the chat is notified.
    Hold(InboundId, bool),
}

/// The decisions of the dispatcher: sessions, their queues and the lines for a slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DispatchPlan<S> {
    session_values: SessionValues,
    /// The slots of all dispatchers.
    slots: S,
    slot_wait: SlotWait,
    /// Nothing starts: the queues are not rebuilt yet, or the process is stopping.
    paused: bool,
    sessions: BTreeMap<SessionKey, SessionState>,
    lines: StartLines,
    /// Turns that have a slot: requested, starting or running.
    turns: BTreeMap<TurnId, SessionKey>,
    /// Events that were steered into a running turn.
    steered: BTreeMap<TurnId, Vec<InboundId>>,
    /// Events in the plan, so that none is added twice.
    events: BTreeSet<InboundId>,
    /// Makes the ids of turns.
    ids: TurnIds,
    /// Counts the reports of the gate; a refusal of a request made before the last report is older than that report.
    gate_reports: u64,
    /// The next slice of waiting events is scheduled.
    slice_due: bool,
}

impl<S: SlotAccess> DispatchPlan<S> {
    /// A plan that starts nothing until [`DispatchPlan::open`].
    pub(super) fn new(values: &Values, ids: TurnIds, mut slots: S) -> Self {
        slots.change(|slots, dispatcher| slots.set_limit(dispatcher, values.turns.max_concurrent));
        Self {
            session_values: values.sessions.clone(),
            slots,
            slot_wait: SlotWait::No,
            paused: true,
            sessions: BTreeMap::new(),
            lines: StartLines::new(),
            turns: BTreeMap::new(),
            steered: BTreeMap::new(),
            events: BTreeSet::new(),
            ids,
            gate_reports: 0,
            slice_due: false,
        }
    }

    /// The queues are rebuilt: from now on turns start. The turns found are those for which this dispatcher uses slots.
    pub(super) fn open(&mut self) -> Vec<DispatchStep> {
        self.paused = false;
        let found = self.turns.len();
        self.slots.change(|slots, dispatcher| slots.adopt(dispatcher, found));
        self.start_next()
    }

    /// Applies new settings. A higher limit starts waiting turns; a lower one stops none.
    pub(super) fn configure(&mut self, values: &Values) -> Vec<DispatchStep> {
        self.session_values = values.sessions.clone();
        self.slots.change(|slots, dispatcher| slots.set_limit(dispatcher, values.turns.max_concurrent));
        self.start_next()
    }

    /// Whether the gate, by its last report, admits a new turn of `profile`.
    pub(super) fn is_open(&self, profile: &ProfileName) -> bool {
        self.lines.is_open(profile)
    }

    /// Whether the event is in the plan.
    pub(super) fn contains(&self, event: InboundId) -> bool {
        self.events.contains(&event)
    }

    /// The gate refused a turn.
    pub(super) fn refused(&mut self, turn: TurnId, refusal: Refusal, hold: bool) -> Vec<DispatchStep> {
        let Some((key, current)) = self.remove_turn(turn) else { return Vec::new() };
        let CurrentTurn { line, waiting: Some(waiting), requested_at, .. } = current else {
            self.update_places(&key, true);
            return self.start_next();
        };
        let WaitingEvent { event, waited, .. } = waiting;
        let queued = WaitingEvent { waited: true, ..waiting };
        let mut steps = Vec::new();
        match refusal {
            // An event that was acknowledged and queued before the drain keeps its place.
            Refusal::Draining if waited || hold => {
                if requested_at == self.gate_reports && self.is_open(key.profile()) {
                    // The refusal arrived before the gate's report of the drain.
                    self.lines.close_profile(key.profile());
                }
                // The drain and its end may both have been reported before the refusal: then nothing else would trigger a new request.
                let closed = !self.is_open(key.profile());
                steps.extend(closed.then_some(DispatchStep::Hold(event, !waited)));
                self.requeue(&key, line, queued);
            }
            Refusal::Draining => {
                self.events.remove(&event);
                steps.push(DispatchStep::Refuse(event));
                self.update_places(&key, false);
            }
            // It is in the ledger and runs after the restart.
            Refusal::Stopping => {
                self.paused = true;
                self.lines.close_all();
                self.requeue(&key, line, queued);
            }
            // The gate's actor was replaced.
            Refusal::Superseded => {
                if !waited && self.take_slot() {
                    steps.push(self.start(&key, line, waiting));
                } else {
                    self.requeue(&key, line, queued);
                }
            }
        }
        steps.extend(self.start_next());
        steps
    }

    /// The link of a turn's event went down before the turn could start: the event waits for it.
    pub(super) fn no_link(&mut self, turn: TurnId) -> Vec<DispatchStep> {
        if let Some((key, CurrentTurn { line, waiting: Some(waiting), .. })) = self.remove_turn(turn) {
            self.requeue(&key, line, WaitingEvent { waited: true, ..waiting });
        }
        self.start_next()
    }

    /// A turn has ended, or could not be started.
    pub(super) fn ended(&mut self, turn: TurnId) -> Vec<DispatchStep> {
        self.drop_turn(turn);
        self.start_next()
    }

    /// The same without starting the next: [`DispatchPlan::start_next`] has to follow.
    pub(super) fn drop_turn(&mut self, turn: TurnId) {
        if let Some((key, current)) = self.remove_turn(turn) {
            if let Some(waiting) = current.waiting {
                self.events.remove(&waiting.event);
            }
            self.update_places(&key, true);
        }
    }

    /// The gate reported its state.
    pub(super) fn gate(&mut self, closed: bool, profiles: impl IntoIterator<Item = ProfileName>) -> Vec<DispatchStep> {
        self.gate_reports += 1;
        self.lines.set_gate(closed, profiles.into_iter().collect());
        self.start_next()
    }

    /// A link came up with its descriptors, or went down.
    pub(super) fn link(&mut self, link: &LinkId, open: bool) -> Vec<DispatchStep> {
        self.lines.set_link(link, open);
        self.start_next()
    }

    /// Starts the next turns, at most [`SLICE`] of them.
    pub(super) fn start_next(&mut self) -> Vec<DispatchStep> {
        let mut steps = Vec::new();
        while steps.len() < SLICE {
            if self.paused || !self.lines.has_next() {
                self.stop_waiting_for_slot();
                break;
            }
            if !self.take_slot_or_wait() {
                break;
            }
            let step = self.lines.next().and_then(|key| self.start_first(&key));
            let Some(step) = step else {
                self.give_slot_back();
                break;
            };
            steps.push(step);
        }
        steps
    }

    /// Whether the rest is to follow in another slice, by [`DispatchPlan::next_slice`]. Only one is scheduled at a time.
    pub(super) fn schedule_slice(&mut self) -> bool {
        let is_new = !self.slice_due && self.has_more();
        self.slice_due |= is_new;
        is_new
    }

    /// The slice that was scheduled.
    pub(super) fn next_slice(&mut self) -> Vec<DispatchStep> {
        self.slice_due = false;
        self.start_next()
    }

    /// Whether [`DispatchPlan::start_next`] may return anything.
    pub(super) fn has_more(&mut self) -> bool {
        !self.paused && self.slot_wait != SlotWait::InLine && self.lines.has_next()
    }

    /// Sessions with work.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Events that wait.
    pub(super) fn counts(&self) -> WaitingCounts {
        self.lines.counts()
    }

    /// Events that wait over `link`, also those that are being recorded.
    pub(super) fn waiting_over(&self, link: &LinkId) -> usize {
        self.lines.waiting().of(link)
    }

    /// The links for which [`DispatchPlan::waiting_over`] has changed since the last call.
    pub(super) fn take_changed_links(&mut self) -> BTreeSet<LinkId> {
        self.lines.waiting_mut().take_changed()
    }

    /// Puts an event into the queue of its session and link, at the index that `at` returns, and the session in line.
    fn enqueue(
        &mut self,
        key: &SessionKey,
        line: LineId,
        waiting: WaitingEvent,
        at: impl FnOnce(&VecDeque<WaitingEvent>) -> usize,
    ) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let number = session.queues.iter().position(|queue| queue.line == line).unwrap_or_else(|| {
            session.queues.push(SessionQueue { line, events: VecDeque::with_capacity(1), place: None });
            session.queues.len() - 1
        });
        let events = &mut session.queues[number].events;
        events.insert(at(events), waiting);
        self.lines.add_event(line);
        self.update_places(key, false);
    }

    /// Puts an event of a person into the queue of its session and link, in order of arrival.
    fn enqueue_in_order(&mut self, key: &SessionKey, line: LineId, event: InboundId) {
        self.enqueue(key, line, WaitingEvent { event, waited: true, origin: Origin::External }, |queue| {
            queue.partition_point(|first| first.origin == Origin::Internal || first.event < event)
        });
    }

    /// Puts an event back to the front of its queue. Internal events, which pass a drain, do not wait behind external ones.
    fn requeue(&mut self, key: &SessionKey, line: LineId, waiting: WaitingEvent) {
        self.enqueue(key, line, waiting, |queue| match waiting.origin {
            Origin::Internal => 0,
            Origin::External => queue.partition_point(|first| first.origin == Origin::Internal),
        });
    }

    /// Updates the place of a session in each line: that of its first event there, or none while it runs a turn.
    fn update_places(&mut self, key: &SessionKey, has_run: bool) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let idle = session.current.is_none();
        for queue in &mut session.queues {
            let first = queue.events.front().filter(|_| idle);
            let present = queue.place.map(|(place, origin)| (place, origin, queue.line));
            if let (Some(first), Some((_, origin, _))) = (first, present)
                && first.origin == origin
            {
                // It keeps its place when more is queued behind it.
                continue;
            }
            if let Some((place, origin, line)) = present {
                self.lines.remove(line, place, origin);
                queue.place = None;
            }
            if let Some(first) = first {
                let place = self.lines.place(queue.line, first.event, first.origin, has_run);
                self.lines.insert(queue.line, place, first.origin, key.clone());
                queue.place = Some((place, first.origin));
            }
        }
        session.queues.retain(|queue| !queue.events.is_empty());
        self.remove_if_idle(key);
    }

    /// Starts the first event of a session that may run, over any link.
    fn start_first(&mut self, key: &SessionKey) -> Option<DispatchStep> {
        let lines = &self.lines;
        let session = self.sessions.get_mut(key)?;
        let order = |queue: &SessionQueue| {
            let first = queue.events.front()?;
            lines.admits(queue.line, first.origin).then_some((first.origin == Origin::External, first.event))
        };
        let queue =
            session.queues.iter_mut().filter(|queue| order(queue).is_some()).min_by_key(|queue| order(queue))?;
        let (line, first) = (queue.line, queue.events.pop_front()?);
        self.lines.remove_event(line);
        Some(self.start(key, line, first))
    }

    /// Starts a turn, for which a slot was taken.
    fn start(&mut self, key: &SessionKey, line: LineId, waiting: WaitingEvent) -> DispatchStep {
        let turn = self.ids.make();
        self.insert_turn(turn, key, line, Some(waiting));
        DispatchStep::RequestPermit(turn, waiting.event)
    }

    fn remove_if_idle(&mut self, key: &SessionKey) {
        if self.sessions.get(key).is_some_and(SessionState::is_empty) {
            self.sessions.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
