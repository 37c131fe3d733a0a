//! How a waiting event leaves the plan without a turn: an operator drops it.

use super::DispatchPlan;
use super::slots::SlotAccess;
use caduceus_contract::messages::ledger::InboundId;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::session::SessionKey;

/// What became of an event that is to leave the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) enum Withdrawal {
    /// It waited, and is no longer in the plan.
    Withdrawn,
    /// This turn runs it, is about to, or has it beside its own event: it stays.
    InTurn(TurnId),
    /// It was handed to a running turn, which has not answered whether it takes it: it stays.
    BeingSteered,
    /// It is not in the plan.
    Absent,
}

impl<S: SlotAccess> DispatchPlan<S> {
    /// Removes an event that waits. [`DispatchPlan::start_next`] has to follow: another event of its session may be the next.
    pub(in crate::dispatch) fn withdraw(&mut self, event: InboundId, key: &SessionKey) -> Withdrawal {
        if let Some(turn) = self.turn_with(event, key) {
            return Withdrawal::InTurn(turn);
        }
        let Some(session) = self.sessions.get_mut(key) else { return Withdrawal::Absent };
        for queue in &mut session.queues {
            if let Some(at) = queue.events.iter().position(|waiting| waiting.event == event) {
                queue.events.remove(at);
                self.lines.remove_event(queue.line);
                self.events.remove(&event);
                self.update_places(key, false);
                return Withdrawal::Withdrawn;
            }
        }
        if self.events.contains(&event) { Withdrawal::BeingSteered } else { Withdrawal::Absent }
    }

    /// The turn of a session that has this event: its own, or one that was steered into it.
    pub(in crate::dispatch) fn turn_with(&self, event: InboundId, key: &SessionKey) -> Option<TurnId> {
        let current = self.sessions.get(key)?.current.as_deref()?;
        let is_own = current.waiting.is_some_and(|waiting| waiting.event == event);
        let is_steered = || self.steered.get(&current.turn).is_some_and(|steered| steered.contains(&event));
        (is_own || is_steered()).then_some(current.turn)
    }
}
