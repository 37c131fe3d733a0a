//! An operator has an event run again, or a reply sent again.
//!
//! An event waits again under its own row, so that a repeated frame is still found. A reply gets a new row, because its age and its attempts
//! decide whether it is sent, and the old one says what was tried.

use serde_json::Value;

use super::events;
use super::failure::Failure;
use super::store::{InboundMark, OutboundMark, StoreTransaction};
use super::work::{LedgerTransaction, Work};
use caduceus_contract::api::ledger::{RowId, RowState};
use caduceus_contract::api::ledger_changes::RowRefusal;
use caduceus_contract::json::RawJson;
use caduceus_contract::link::Target;
use caduceus_contract::messages::ledger::{
    DEAD_LETTER, ERASED, InboundId, InboundState, OutboundId, OutboundRow, OutboundState, RecordOutbound,
};
use caduceus_contract::messages::ledger_control::{ReopenRow, ReopenedRow};
use caduceus_contract::wire::action::Action;
use caduceus_contract::wire::event::RELAY;
use caduceus_contract::wire::received_event::ReceivedEvent;

/// Note of an event that waits again.
const RETRIED: &str = "retried by an operator";
/// Beginning of the error of a reply that was sent again; the new row follows.
const SENT_AGAIN: &str = "sent again as ";

type Reopened = Result<ReopenedRow, RowRefusal>;

impl Work for ReopenRow {
    type Answer = Reopened;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<Reopened, Failure> {
        match self.id {
            RowId::Event(event) => reopen_event(self, event, ledger),
            RowId::Reply(reply) => reopen_reply(self, reply, ledger),
        }
    }
}

fn reopen_event<T: StoreTransaction>(
    order: &ReopenRow,
    event: InboundId,
    ledger: &mut LedgerTransaction<'_, T>,
) -> Result<Reopened, Failure> {
    let row = ledger.store.read_event(event)?;
    let was = RowState::from(row.state);
    match row.state {
        InboundState::Received | InboundState::Held => return Ok(Err(RowRefusal::Waits(order.id, was))),
        InboundState::Running if !order.is_stopped => return Ok(Err(RowRefusal::Runs(order.id, row.turn))),
        InboundState::Done if !order.force => return Ok(Err(RowRefusal::Done(order.id, was))),
        InboundState::Running
        | InboundState::Done
        | InboundState::Failed
        | InboundState::Interrupted
        | InboundState::Refused
        | InboundState::Dead => {}
    }
    if row.event == ERASED {
        return Ok(Err(RowRefusal::Erased(order.id)));
    }
    if !is_event(&row.target, row.event) {
        return Ok(Err(RowRefusal::Unreadable(order.id)));
    }
    let before = ledger.store.event_mark(event)?;
    let state = InboundState::Received;
    let after = InboundMark { state, turn: None, note: Some(RETRIED.to_owned()), ..before.clone() };
    events::write(ledger, event, &before, after)?;
    Ok(Ok(ReopenedRow { was, row: order.id, state: state.into(), link: row.target.link.clone() }))
}

/// Whether an agent can run it: not a frame that could not be used.
fn is_event(target: &Target, text: String) -> bool {
    let is_letter = || serde_json::from_str::<Value>(&text).is_ok_and(|value| value.get(DEAD_LETTER).is_some());
    let is_letter = target.platform == RELAY && is_letter();
    !is_letter && RawJson::try_from(text).is_ok_and(|raw| ReceivedEvent::read(raw).is_ok())
}

fn reopen_reply<T: StoreTransaction>(
    order: &ReopenRow,
    reply: OutboundId,
    ledger: &mut LedgerTransaction<'_, T>,
) -> Result<Reopened, Failure> {
    let OutboundRow { inbound, target, action, state, .. } = ledger.store.read_reply(reply)?;
    let was = RowState::from(state);
    match state {
        OutboundState::Pending | OutboundState::Sending | OutboundState::Ambiguous => {
            return Ok(Err(RowRefusal::Waits(order.id, was)));
        }
        OutboundState::Delivered if !order.force => return Ok(Err(RowRefusal::Done(order.id, was))),
        OutboundState::Delivered | OutboundState::Refused | OutboundState::Dead => {}
    }
    let before = ledger.store.reply_mark(reply)?;
    if let Some(by) = before.error.as_deref().and_then(|error| error.strip_prefix(SENT_AGAIN)?.parse().ok()) {
        return Ok(Err(RowRefusal::SentAgain(order.id, by)));
    }
    if action == ERASED {
        return Ok(Err(RowRefusal::Erased(order.id)));
    }
    let parsed = serde_json::from_str::<Value>(&action).ok().filter(|value| Action::parse(value).is_ok());
    let Some(action) = parsed.and_then(|_| RawJson::try_from(action).ok()) else {
        return Ok(Err(RowRefusal::Unreadable(order.id)));
    };
    // What was handed to a link once may be in the chat, in part at least.
    let is_unsent = before.attempts == 0 && before.sent_at_ms.is_none();
    let state = if is_unsent { OutboundState::Pending } else { OutboundState::Ambiguous };
    let link = target.link.clone();
    let again = RecordOutbound { inbound, turn: None, number: None, target, action, state }.run(ledger)?;
    let row = RowId::Reply(again);
    if was != RowState::Delivered {
        let after =
            OutboundMark { state: OutboundState::Refused, error: Some(format!("{SENT_AGAIN}{row}")), ..before.clone() };
        ledger.store.write_reply_mark(reply, before.state, after)?;
        ledger.reply_moved(Some(before.state), OutboundState::Refused);
    }
    Ok(Ok(ReopenedRow { was, row, state: state.into(), link }))
}
