//! The turns of the plan: each has a slot from the request for its permit to its end.

use super::DispatchPlan;
use super::lines::LineId;
use super::session::{CurrentTurn, WaitingEvent};
use super::slots::{SlotAccess, SlotPlan, SlotWait};
use caduceus_contract::messages::drain::Origin;
use caduceus_contract::messages::ledger::InboundId;
use caduceus_contract::messages::turn::StopCause;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::session::SessionKey;

impl<S: SlotAccess> DispatchPlan<S> {
    /// The event that a turn runs; `None` while it is being recorded.
    pub(in crate::dispatch) fn event_of(&self, turn: TurnId) -> Option<InboundId> {
        Some(self.current(turn)?.waiting?.event)
    }

    /// Whether the event that a turn runs is from a person or from the gateway itself.
    pub(in crate::dispatch) fn origin_of(&self, turn: TurnId) -> Option<Origin> {
        Some(self.current(turn)?.waiting?.origin)
    }

    /// The session of a turn.
    pub(in crate::dispatch) fn session_of(&self, turn: TurnId) -> Option<SessionKey> {
        self.turns.get(&turn).cloned()
    }

    /// Stops a turn that is being started, once it has started. `false` if there is no such turn.
    pub(in crate::dispatch) fn stop_once_started(&mut self, turn: TurnId, cause: StopCause) -> bool {
        let current = self.current_mut(turn);
        current.map(|current| current.pending_stop = Some(cause)).is_some()
    }

    /// Takes the stop that was ordered before a turn had started.
    pub(in crate::dispatch) fn take_pending_stop(&mut self, turn: TurnId) -> Option<StopCause> {
        self.current_mut(turn)?.pending_stop.take()
    }

    /// The turn of a session.
    pub(in crate::dispatch) fn turn_in(&self, session: &SessionKey) -> Option<TurnId> {
        self.sessions.get(session)?.current.as_ref().map(|current| current.turn)
    }

    /// The turns of every session whose key has this text on the wire: two sessions can have the same text. Compares the turns with a slot
    /// only, and makes no text.
    pub(in crate::dispatch) fn turns_of(&self, text: &str) -> Vec<TurnId> {
        self.turns.iter().filter(|(_, session)| session.has_text(text)).map(|(turn, _)| *turn).collect()
    }

    /// Turns with a slot, over all dispatchers.
    pub(in crate::dispatch) fn slots_in_use_over_all(&mut self) -> usize {
        self.slots.change(|slots, _| slots.in_use()).unwrap_or(self.turns.len())
    }

    /// Takes a slot, if one is free and turns may start.
    pub(super) fn take_slot(&mut self) -> bool {
        let is_taken = !self.paused && self.slots.change(SlotPlan::take) == Some(true);
        if is_taken {
            self.slot_wait = SlotWait::No;
        }
        is_taken
    }

    /// Takes a slot, or waits in line for one.
    pub(super) fn take_slot_or_wait(&mut self) -> bool {
        let is_taken = self.slots.change(SlotPlan::take_or_wait) == Some(true);
        self.slot_wait = if is_taken { SlotWait::No } else { SlotWait::InLine };
        is_taken
    }

    /// Nothing can start at present: leaves the line for a slot, and gives back one that is reserved.
    pub(super) fn stop_waiting_for_slot(&mut self) {
        if std::mem::take(&mut self.slot_wait) != SlotWait::No {
            self.slots.change(SlotPlan::stop_waiting);
        }
    }

    /// Gives a slot back. [`DispatchPlan::start_next`] has to follow: if this dispatcher is the next in line, the slot is reserved for it
    /// again without a notification.
    pub(super) fn give_slot_back(&mut self) {
        if self.slots.change(SlotPlan::give_back) == Some(true) {
            self.slot_wait = SlotWait::Reserved;
        }
    }

    pub(super) fn current(&self, turn: TurnId) -> Option<&CurrentTurn> {
        let current = self.sessions.get(self.turns.get(&turn)?)?.current.as_deref();
        current.filter(|current| current.turn == turn)
    }

    pub(super) fn current_mut(&mut self, turn: TurnId) -> Option<&mut CurrentTurn> {
        let current = self.sessions.get_mut(self.turns.get(&turn)?)?.current.as_deref_mut();
        current.filter(|current| current.turn == turn)
    }

    /// A turn has its slot.
    pub(super) fn insert_turn(&mut self, turn: TurnId, key: &SessionKey, line: LineId, waiting: Option<WaitingEvent>) {
        let requested_at = self.gate_reports;
        if let Some(session) = self.sessions.get_mut(key) {
            session.current = Some(Box::new(CurrentTurn { turn, line, waiting, requested_at, pending_stop: None }));
        }
        self.turns.insert(turn, key.clone());
        self.update_places(key, false);
    }

    /// Removes a turn from its session, and gives its slot back.
    pub(super) fn remove_turn(&mut self, turn: TurnId) -> Option<(SessionKey, CurrentTurn)> {
        let key = self.turns.remove(&turn)?;
        self.give_slot_back();
        let current = self.sessions.get_mut(&key)?.current.take_if(|current| current.turn == turn)?;
        Some((key, *current))
    }
}
