//! How events enter the plan: new, held, restored, or returned by a turn that did not accept them.

use std::collections::VecDeque;

use super::session::{SessionQueue, WaitingEvent};
use super::slots::SlotAccess;
use super::{DispatchPlan, DispatchStep, MAX_QUEUE};
use crate::settings::Busy;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::drain::Origin;
use caduceus_contract::messages::ledger::InboundId;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::session::SessionKey;

impl<S: SlotAccess> DispatchPlan<S> {
    /// An event is about to be recorded. If it waits for nothing, `admit` takes a permit for its turn, which then has a slot: the record
    /// says that it runs, and [`DispatchPlan::begun`] or [`DispatchPlan::ended`] follows. Otherwise [`DispatchPlan::recorded`] follows.
    pub(in crate::dispatch) fn offered<P>(
        &mut self,
        key: &SessionKey,
        over: &LinkId,
        admit: impl FnOnce(TurnId) -> Option<P>,
    ) -> Option<(TurnId, P)> {
        let line = self.lines.line(over, key.profile());
        // It overtakes no session that may run.
        let is_next = self.is_open(key.profile()) && !self.lines.has_next();
        let is_idle = self.sessions.entry(key.clone()).or_default().is_empty();
        if is_next && is_idle && self.take_slot() {
            let turn = self.ids.make();
            if let Some(permit) = admit(turn) {
                self.insert_turn(turn, key, line, None);
                return Some((turn, permit));
            }
            self.give_slot_back();
        }
        self.sessions.entry(key.clone()).or_default().being_recorded += 1;
        self.lines.waiting_mut().add(over);
        None
    }

    /// The event of a turn that [`DispatchPlan::offered`] returned is recorded. `false` if there is no such turn.
    pub(in crate::dispatch) fn begun(&mut self, turn: TurnId, event: InboundId) -> bool {
        let Some(current) = self.current_mut(turn) else { return false };
        current.waiting = Some(WaitingEvent { event, waited: false, origin: Origin::External });
        self.events.insert(event);
        self.lines.entered(event);
        true
    }

    /// The record of an event that waits afterwards was answered, or the event does not wait after all.
    pub(in crate::dispatch) fn recorded(&mut self, key: &SessionKey, over: &LinkId) {
        if let Some(session) = self.sessions.get_mut(key)
            && session.being_recorded > 0
        {
            session.being_recorded -= 1;
            self.lines.waiting_mut().remove(over);
            self.remove_if_idle(key);
        }
    }

    /// An event that was just recorded. `has_descriptor`: it arrived with the descriptor for its turn.
    pub(in crate::dispatch) fn arrived(
        &mut self,
        event: InboundId,
        key: &SessionKey,
        over: &LinkId,
        has_descriptor: bool,
    ) -> Vec<DispatchStep> {
        if !self.events.insert(event) {
            return Vec::new();
        }
        self.lines.entered(event);
        let (open, line) = (self.is_open(key.profile()), self.lines.line(over, key.profile()));
        let session = self.sessions.entry(key.clone()).or_default();
        let waits = session.queues.iter().any(|queue| self.lines.admits(queue.line, queue.origin()));
        // A session that waits for a slot is as busy as one that has it.
        if self.session_values.busy == Busy::Reject && (session.current.is_some() || waits) {
            self.events.remove(&event);
            return vec![DispatchStep::Busy(event)];
        }
        if let (Busy::Steer, Some(current)) = (self.session_values.busy, &session.current) {
            return vec![DispatchStep::Steer(current.turn, event, !open)];
        }
        let running = session.current.as_ref().map(|current| current.turn);
        // Events held for the gate have no limit.
        if (open || running.is_some()) && session.len(line) >= MAX_QUEUE {
            self.events.remove(&event);
            self.remove_if_idle(key);
            return vec![DispatchStep::Overflow(event)];
        }
        // Events that wait for another link that is down do not block this one.
        let delays = |queue: &SessionQueue| queue.line == line || self.lines.is_link_open(queue.line);
        let free = running.is_none() && !session.queues.iter().any(delays);
        let waiting = WaitingEvent { event, waited: false, origin: Origin::External };
        // The gate decides, not its last report; and the event overtakes no session that may run.
        if free
            && (has_descriptor || self.lines.is_link_open(line))
            && !(open && self.lines.has_next())
            && self.take_slot()
        {
            return vec![self.start(key, line, waiting)];
        }
        self.enqueue(key, line, WaitingEvent { waited: true, ..waiting }, VecDeque::len);
        // A running turn is not stopped for an event that may not start.
        let interrupted = running.filter(|_| self.session_values.busy == Busy::Interrupt && open);
        let mut steps: Vec<_> = interrupted.map(DispatchStep::Interrupt).into_iter().collect();
        steps.extend(self.start_next());
        steps
    }

    /// An event that was held on arrival, as the gate was closed by its last report.
    pub(in crate::dispatch) fn held(&mut self, event: InboundId, key: &SessionKey, over: &LinkId) -> Vec<DispatchStep> {
        let busy = self.sessions.get(key).is_some_and(|session| session.current.is_some());
        if self.session_values.busy == Busy::Reject && busy && !self.contains(event) {
            return vec![DispatchStep::Busy(event)];
        }
        self.restored(event, key, over, Origin::External)
    }

    /// An event that was recorded before this incarnation, or runs again: it waits like any other.
    pub(in crate::dispatch) fn restored(
        &mut self,
        event: InboundId,
        key: &SessionKey,
        over: &LinkId,
        origin: Origin,
    ) -> Vec<DispatchStep> {
        if !self.events.insert(event) {
            return Vec::new();
        }
        self.lines.entered(event);
        let line = self.lines.line(over, key.profile());
        self.sessions.entry(key.clone()).or_default();
        // Internal events, which pass a drain, do not wait behind external ones.
        self.enqueue(key, line, WaitingEvent { event, waited: true, origin }, |queue| match origin {
            Origin::Internal => queue.partition_point(|first| first.origin == Origin::Internal),
            Origin::External => queue.len(),
        });
        self.start_next()
    }

    /// An event whose turn never started: it waits in order of arrival, before later events of its session.
    pub(in crate::dispatch) fn returned(
        &mut self,
        event: InboundId,
        key: &SessionKey,
        over: &LinkId,
    ) -> Vec<DispatchStep> {
        if !self.events.insert(event) {
            return Vec::new();
        }
        self.lines.entered(event);
        let line = self.lines.line(over, key.profile());
        self.sessions.entry(key.clone()).or_default();
        self.enqueue_in_order(key, line, event);
        self.start_next()
    }

    /// A turn that an earlier incarnation started.
    pub(in crate::dispatch) fn adopted(&mut self, turn: TurnId, event: InboundId, key: &SessionKey, over: &LinkId) {
        self.events.insert(event);
        self.lines.entered(event);
        let line = self.lines.line(over, key.profile());
        self.sessions.entry(key.clone()).or_default();
        self.insert_turn(turn, key, line, Some(WaitingEvent { event, waited: true, origin: Origin::External }));
    }

    /// A steered event that the running turn did not accept: it waits, if there is room in its session, and with `has_room` over its link.
    /// `during_drain`: it arrived during a drain; if that is still on, the event is refused or held like any other.
    pub(in crate::dispatch) fn not_steered(
        &mut self,
        event: InboundId,
        key: &SessionKey,
        over: &LinkId,
        during_drain: bool,
        hold: bool,
        has_room: bool,
    ) -> Vec<DispatchStep> {
        let during_drain = during_drain && !self.is_open(key.profile());
        if during_drain && !hold {
            self.events.remove(&event);
            return vec![DispatchStep::Refuse(event)];
        }
        if !has_room {
            self.events.remove(&event);
            return vec![DispatchStep::LinkFull(event)];
        }
        let line = self.lines.line(over, key.profile());
        if !during_drain && self.sessions.get(key).is_some_and(|session| session.len(line) >= MAX_QUEUE) {
            self.events.remove(&event);
            return vec![DispatchStep::Overflow(event)];
        }
        let mut steps: Vec<_> = during_drain.then_some(DispatchStep::Hold(event, true)).into_iter().collect();
        self.events.insert(event);
        self.sessions.entry(key.clone()).or_default();
        // Several are returned at once when their turn ends, in any order.
        self.enqueue_in_order(key, line, event);
        steps.extend(self.start_next());
        steps
    }

    /// An event that was steered into this turn. It is done when the turn is. `false` if the turn has ended already.
    pub(in crate::dispatch) fn steered(&mut self, turn: TurnId, event: InboundId) -> bool {
        let runs = self.turns.contains_key(&turn);
        if runs {
            self.events.insert(event);
            self.steered.entry(turn).or_default().push(event);
        } else {
            self.events.remove(&event);
        }
        runs
    }

    /// Removes the events that were steered into a turn from the plan.
    pub(in crate::dispatch) fn take_steered(&mut self, turn: TurnId) -> Vec<InboundId> {
        let steered = self.steered.remove(&turn).unwrap_or_default();
        for event in &steered {
            self.events.remove(event);
        }
        steered
    }
}
