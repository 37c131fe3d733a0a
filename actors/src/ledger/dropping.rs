//! An operator drops an event or a reply.
//!
//! It is refused from then on, so a repeated frame is still found and nothing runs or is sent. A chat whose message was acknowledged and that
//! has no answer is notified; that notice is in the same transaction, so it is neither lost nor sent without reason.

use std::sync::Arc;

use super::events;
use super::failure::Failure;
use super::store::{InboundMark, OutboundMark, StoreTransaction};
use super::work::{LedgerTransaction, Work};
use caduceus_contract::api::ledger::{RowId, RowState};
use caduceus_contract::api::ledger_changes::RowRefusal;
use caduceus_contract::json::RawJson;
use caduceus_contract::link::Target;
use caduceus_contract::messages::ledger::{
    InboundId, InboundState, LedgerError, OutboundId, OutboundState, RecordOutbound,
};
use caduceus_contract::messages::ledger_control::{DropNotice, LedgerHolder, RecordDrop, RecordedDrop};
use caduceus_contract::wire::action::Action;

/// Note of an event, and error of a reply, that was dropped.
const DROPPED: &str = "dropped by an operator";
/// For the chat of a message that was acknowledged and is not answered.
const NOTICE: &str = "An operator removed a message that was waiting here; it was not answered.";

type Dropped = Result<RecordedDrop, RowRefusal>;

impl Work for RecordDrop {
    type Answer = Dropped;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<Dropped, Failure> {
        match self.id {
            RowId::Event(event) => drop_event(self, event, ledger),
            RowId::Reply(reply) => drop_reply(self, reply, ledger),
        }
    }
}

fn drop_event<T: StoreTransaction>(
    order: &RecordDrop,
    event: InboundId,
    ledger: &mut LedgerTransaction<'_, T>,
) -> Result<Dropped, Failure> {
    let row = ledger.store.read_event(event)?;
    let was = RowState::from(row.state);
    let is_unanswered = match row.state {
        InboundState::Running if order.holder == LedgerHolder::Gateway => {
            return Ok(Err(RowRefusal::Runs(order.id, row.turn)));
        }
        InboundState::Received | InboundState::Held | InboundState::Interrupted | InboundState::Running => true,
        // Its chat was notified, or has no link.
        InboundState::Dead => false,
        InboundState::Done | InboundState::Failed | InboundState::Refused => {
            return Ok(Err(RowRefusal::Ended(order.id, was)));
        }
    };
    let before = ledger.store.event_mark(event)?;
    let after = InboundMark { state: InboundState::Refused, note: Some(DROPPED.to_owned()), ..before.clone() };
    events::write(ledger, event, &before, after)?;
    let is_notified = is_unanswered && order.notice == DropNotice::IfUnanswered;
    let notice = is_notified.then(|| row.target.link.clone());
    if is_notified {
        notice_to(row.target).run(ledger)?;
    }
    Ok(Ok(RecordedDrop { was, notice }))
}

fn notice_to(target: Arc<Target>) -> RecordOutbound {
    let (chat_id, metadata) = (target.chat_id.clone(), target.metadata());
    let action = Action::Send { chat_id, content: NOTICE.to_owned(), reply_to: None, metadata };
    let action = RawJson::of(&action);
    RecordOutbound { inbound: None, turn: None, number: None, target, action, state: OutboundState::Pending }
}

fn drop_reply<T: StoreTransaction>(
    order: &RecordDrop,
    reply: OutboundId,
    ledger: &mut LedgerTransaction<'_, T>,
) -> Result<Dropped, Failure> {
    let row = ledger.store.read_reply(reply)?;
    let was = RowState::from(row.state);
    match row.state {
        OutboundState::Sending
            if order.holder == LedgerHolder::Gateway && row.recorded_at_ms >= order.process_started_ms =>
        {
            return Ok(Err(RowRefusal::BeingSent(order.id)));
        }
        OutboundState::Pending | OutboundState::Ambiguous | OutboundState::Sending | OutboundState::Dead => {}
        OutboundState::Delivered | OutboundState::Refused => return Ok(Err(RowRefusal::Ended(order.id, was))),
    }
    // The end of its turn writes its state once more.
    let turn = row.inbound.map(|event| ledger.store.event_mark(event)).transpose();
    match turn {
        Ok(Some(mark)) if mark.state == InboundState::Running && order.holder == LedgerHolder::Gateway => {
            return Ok(Err(RowRefusal::Runs(order.id, mark.turn)));
        }
        Ok(_) | Err(Failure::Answered(LedgerError::Missing { .. } | LedgerError::Corrupt { .. })) => {}
        Err(failure) => return Err(failure),
    }
    let before = ledger.store.reply_mark(reply)?;
    let after = OutboundMark { state: OutboundState::Refused, error: Some(DROPPED.to_owned()), ..before.clone() };
    ledger.store.write_reply_mark(reply, before.state, after)?;
    ledger.reply_moved(Some(before.state), OutboundState::Refused);
    Ok(Ok(RecordedDrop { was, notice: None }))
}
