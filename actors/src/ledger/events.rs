//! Inbound events: recorded once, marked, listed.

use tracing::warn;

use super::failure::Failure;
use super::states::inbound_moves;
use super::store::{InboundMark, StoreTransaction};
use super::work::{LedgerTransaction, Work};
use caduceus_contract::messages::ledger::{
    InboundId, InboundRow, InboundState, InterruptedPage, LedgerError, ListInbound, ListInterrupted, ListWaiting,
    MarkInbound, ReadInbound, RecordInbound, Recorded, WaitingPage, WithdrawTurns,
};
use caduceus_contract::turn_id::TurnId;

impl Work for RecordInbound {
    type Answer = Recorded;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<Recorded, Failure> {
        let attempts = i64::from(self.state == InboundState::Running);
        let mark =
            InboundMark { state: self.state, attempts, turn: self.turn, note: self.note.clone(), begun_at_ms: None };
        let recorded = ledger.store.record_event(self, mark)?;
        if matches!(recorded, Recorded::New(_)) {
            ledger.event_moved(None, self.state);
            ledger.written();
        }
        Ok(recorded)
    }
}

/// Whether a mark was the first of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marked {
    Now,
    /// The row is in the state of the same turn already: the mark was handed over twice.
    Before,
    /// The row has moved on: the mark came too late, and changes nothing.
    Late,
}

impl Work for MarkInbound {
    type Answer = ();

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<(), Failure> {
        apply(self, ledger).map(|_| ())
    }

    fn is_owed(&self) -> bool {
        self.state != InboundState::Running
    }
}

/// Changes the state of an event.
pub(super) fn apply<T: StoreTransaction>(
    mark: &MarkInbound,
    ledger: &mut LedgerTransaction<'_, T>,
) -> Result<Marked, Failure> {
    let before = ledger.store.event_mark(mark.id)?;
    if mark.turn.is_some() && before.turn == mark.turn && before.state == mark.state {
        return Ok(Marked::Before);
    }
    // One that a drain refused is in a final state, and has one change left: its chat was notified.
    let ends_unread = before.is_unread() && mark.state == InboundState::Refused;
    if !ends_unread && !inbound_moves(before.state, mark.state) {
        // Its sender must not start the turn.
        if mark.state == InboundState::Running {
            return Err(LedgerError::Final { row: mark.id.0 }.into());
        }
        warn!(row = mark.id.0, is = ?before.state, late = ?mark.state, "change of an event came too late, and is ignored");
        return Ok(Marked::Late);
    }
    let after = InboundMark {
        state: mark.state,
        attempts: before.attempts + i64::from(mark.state == InboundState::Running),
        turn: mark.turn.or(before.turn),
        note: mark.note.as_ref().or(before.note.as_ref()).cloned(),
        begun_at_ms: before.begun_at_ms,
    };
    write(ledger, mark.id, &before, after)?;
    Ok(Marked::Now)
}

/// Replaces the mark of an event, and counts the event in its new state.
pub(super) fn write<T: StoreTransaction>(
    ledger: &mut LedgerTransaction<'_, T>,
    id: InboundId,
    before: &InboundMark,
    after: InboundMark,
) -> Result<(), Failure> {
    let state = after.state;
    ledger.store.write_event_mark(id, before, after)?;
    ledger.event_moved(Some(before.state), state);
    Ok(())
}

impl Work for WithdrawTurns {
    type Answer = Vec<(TurnId, InboundId)>;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<Self::Answer, Failure> {
        let mut withdrawn = Vec::new();
        for (id, before) in ledger.store.running_events(&self.turns)? {
            let after = InboundMark {
                state: InboundState::Received,
                attempts: before.attempts - 1,
                turn: None,
                note: before.note.clone(),
                // The time of an earlier attempt is not kept.
                begun_at_ms: None,
            };
            match write(ledger, id, &before, after) {
                Ok(()) => {}
                // Another program deleted it. The others are withdrawn all the same.
                Err(Failure::Answered(_)) => continue,
                Err(failure) => return Err(failure),
            }
            withdrawn.extend(before.turn.map(|turn| (turn, id)));
        }
        Ok(withdrawn)
    }

    fn is_owed(&self) -> bool {
        true
    }
}

impl Work for ListInbound {
    type Answer = Vec<InboundRow>;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<Vec<InboundRow>, Failure> {
        ledger.store.list_events(self)
    }
}

impl Work for ListWaiting {
    type Answer = WaitingPage;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<WaitingPage, Failure> {
        ledger.store.list_waiting(self)
    }
}

impl Work for ReadInbound {
    type Answer = InboundRow;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<InboundRow, Failure> {
        ledger.store.read_event(self.id)
    }
}

impl Work for ListInterrupted {
    type Answer = InterruptedPage;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<InterruptedPage, Failure> {
        ledger.store.list_interrupted(self)
    }
}
