//! An operator has an event run again, or a reply sent again.
//!
//! An event waits again under its own row, so that a repeated frame is still found. A reply gets a new row, because its age and its attempts
//! decide whether it is sent, and the old one says what was tried. `retry_plan` decides what is refused.

use std::sync::Arc;

use super::events;
use super::failure::Failure;
use super::store::{InboundMark, OutboundMark, StoreTransaction};
use super::work::{LedgerTransaction, Work};
use crate::retry_plan::{decide_event, decide_reply};
use caduceus_contract::api::ledger::{RowId, RowState};
use caduceus_contract::api::ledger_changes::RowRefusal;
use caduceus_contract::messages::ledger::{InboundId, InboundState, OutboundId, OutboundState, RecordOutbound};
use caduceus_contract::messages::ledger_control::{RecordRetry, RecordedRetry};

/// Note of an event that waits again.
const RETRIED: &str = "retried by an operator";

type Retried = Result<RecordedRetry, RowRefusal>;

impl Work for RecordRetry {
    type Answer = Retried;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<Retried, Failure> {
        match self.id {
            RowId::Event(event) => retry_event(self, event, ledger),
            RowId::Reply(reply) => retry_reply(self, reply, ledger),
        }
    }
}

fn retry_event<T: StoreTransaction>(
    order: &RecordRetry,
    event: InboundId,
    ledger: &mut LedgerTransaction<'_, T>,
) -> Result<Retried, Failure> {
    let row = ledger.store.read_event(event)?;
    if let Err(refusal) = decide_event(order, &row) {
        return Ok(Err(refusal));
    }
    let before = ledger.store.event_mark(event)?;
    let state = InboundState::Received;
    let after = InboundMark { state, turn: None, note: Some(RETRIED.to_owned()), ..before.clone() };
    events::write(ledger, event, &before, after)?;
    Ok(Ok(RecordedRetry { was: row.state.into(), row: order.id, state: state.into(), link: row.target.link.clone() }))
}

fn retry_reply<T: StoreTransaction>(
    order: &RecordRetry,
    reply: OutboundId,
    ledger: &mut LedgerTransaction<'_, T>,
) -> Result<Retried, Failure> {
    let row = ledger.store.read_reply(reply)?;
    let before = ledger.store.reply_mark(reply)?;
    let (inbound, target, was) = (row.inbound, Arc::clone(&row.target), RowState::from(row.state));
    let action = match decide_reply(order, row, before.sent_again_as) {
        Ok(action) => action,
        Err(refusal) => return Ok(Err(refusal)),
    };
    // What was handed to a link once may be in the chat, in part at least.
    let is_unsent = before.attempts == 0 && before.sent_at_ms.is_none();
    let state = if is_unsent { OutboundState::Pending } else { OutboundState::Ambiguous };
    let link = target.link.clone();
    let again = RecordOutbound { inbound, turn: None, number: None, target, action, state }.run(ledger)?;
    if was != RowState::Delivered {
        let after = OutboundMark { state: OutboundState::Refused, sent_again_as: Some(again), ..before.clone() };
        ledger.store.write_reply_mark(reply, before.state, after)?;
        ledger.reply_moved(Some(before.state), OutboundState::Refused);
    }
    Ok(Ok(RecordedRetry { was, row: RowId::Reply(again), state: state.into(), link }))
}
