//! Outbound messages: recorded before they are sent, marked, listed.

use tracing::warn;

use super::failure::Failure;
use super::states::outbound_moves;
use super::store::{OutboundMark, StoreTransaction};
use super::work::{LedgerTransaction, Work};
use caduceus_contract::messages::ledger::{
    LedgerError, ListOutbound, MarkOutbound, OutboundId, OutboundRow, OutboundState, RecordOutbound,
};

impl Work for RecordOutbound {
    type Answer = OutboundId;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<OutboundId, Failure> {
        let reply = self.turn.zip(self.number);
        if let Some(row) = reply.and_then(|reply| ledger.row_of_reply(reply)) {
            return Ok(OutboundId(row));
        }
        let attempts = i64::from(self.state == OutboundState::Sending);
        let mark = OutboundMark {
            state: self.state,
            attempts,
            message_id: None,
            error: None,
            sent_again_as: None,
            sent_at_ms: None,
        };
        let id = ledger.store.record_reply(self, mark)?;
        ledger.reply_moved(None, self.state);
        ledger.written();
        if let Some(reply) = reply {
            ledger.add_reply(reply, id.0);
        }
        Ok(id)
    }

    fn is_owed(&self) -> bool {
        self.turn.is_none()
    }
}

impl Work for MarkOutbound {
    type Answer = ();

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<(), Failure> {
        let before = ledger.store.reply_mark(self.id)?;
        if !outbound_moves(before.state, self.state) {
            // Its sender must not send it.
            if self.state == OutboundState::Sending {
                return Err(LedgerError::Final { row: self.id.0 }.into());
            }
            warn!(row = self.id.0, is = ?before.state, late = ?self.state, "change of a reply came too late, and is ignored");
            return Ok(());
        }
        // A reply that waits again was not sent, so it was no attempt.
        let was_not_sent = before.state == OutboundState::Sending && self.state == OutboundState::Pending;
        let attempts = before.attempts + i64::from(self.state == OutboundState::Sending) - i64::from(was_not_sent);
        let from = before.state;
        let after = OutboundMark {
            state: self.state,
            attempts,
            message_id: self.message_id.clone().or(before.message_id),
            error: self.error.clone().or(before.error),
            sent_again_as: before.sent_again_as,
            sent_at_ms: before.sent_at_ms.filter(|_| !was_not_sent),
        };
        ledger.store.write_reply_mark(self.id, from, after)?;
        ledger.reply_moved(Some(from), self.state);
        Ok(())
    }

    fn is_owed(&self) -> bool {
        self.state != OutboundState::Sending
    }
}

impl Work for ListOutbound {
    type Answer = Vec<OutboundRow>;

    fn run<T: StoreTransaction>(&self, ledger: &mut LedgerTransaction<'_, T>) -> Result<Vec<OutboundRow>, Failure> {
        ledger.store.list_replies(self)
    }
}
