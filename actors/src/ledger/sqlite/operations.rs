//! The operations of a transaction, each in the file of its rows.

use super::transaction::SqliteTransaction;
use super::{erasing, export, history, inbound, listing, marks, outbound, refusals, restarts};
use crate::ledger::failure::{Failure, StoreError};
use crate::ledger::store::{ErasedRows, InboundMark, OutboundMark, StoreTransaction, UnreadChat, Wrote};
use caduceus_contract::api::ledger::{RowDetail, RowsPage};
use caduceus_contract::api::ledger_data::ExportPage;
use caduceus_contract::messages::ledger::{
    AppendHistory, HistoryEntry, InboundId, InboundRow, InterruptedPage, ListInbound, ListInterrupted, ListOutbound,
    ListWaiting, LoadHistory, NoteRestart, OutboundId, OutboundRow, OutboundState, RecordInbound, RecordOutbound,
    Recorded, WaitingPage,
};
use caduceus_contract::messages::ledger_control::{ErasePerson, ExportRows, ListRows, ShowRow};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::share::DispatchShare;
use caduceus_contract::turn_id::TurnId;

impl StoreTransaction for SqliteTransaction<'_> {
    fn commit(self) -> Result<Wrote, StoreError> {
        match self.missing {
            Some(missing) if self.has_written() => Err(StoreError::temporary(missing)),
            _ => Ok(self.write()?),
        }
    }

    fn has_ended(&self) -> bool {
        self.connection.is_autocommit()
    }

    fn record_event(&mut self, event: &RecordInbound, mark: InboundMark) -> Result<Recorded, Failure> {
        inbound::record(self, event, mark)
    }

    fn event_mark(&mut self, id: InboundId) -> Result<InboundMark, Failure> {
        marks::of_event(self, id.0)
    }

    fn write_event_mark(&mut self, id: InboundId, before: &InboundMark, after: InboundMark) -> Result<(), Failure> {
        inbound::write_mark(self, id, before, after)
    }

    fn running_events(&mut self, turns: &[TurnId]) -> Result<Vec<(InboundId, InboundMark)>, Failure> {
        inbound::running(self, turns)
    }

    fn list_events(&mut self, list: &ListInbound) -> Result<Vec<InboundRow>, Failure> {
        inbound::list(self, list)
    }

    fn list_waiting(&mut self, list: &ListWaiting) -> Result<WaitingPage, Failure> {
        inbound::list_waiting(self, list)
    }

    fn read_event(&mut self, id: InboundId) -> Result<InboundRow, Failure> {
        inbound::read(self, id)
    }

    fn list_interrupted(&mut self, list: &ListInterrupted) -> Result<InterruptedPage, Failure> {
        inbound::list_interrupted(self, list)
    }

    fn unread_profiles(&mut self) -> Result<Vec<ProfileName>, Failure> {
        refusals::profiles(self)
    }

    fn unread_chats(
        &mut self,
        profile: &ProfileName,
        share: DispatchShare,
        limit: usize,
    ) -> Result<Vec<UnreadChat>, Failure> {
        refusals::chats(self, profile, share, limit)
    }

    fn record_reply(&mut self, reply: &RecordOutbound, mark: OutboundMark) -> Result<OutboundId, Failure> {
        outbound::record(self, reply, mark)
    }

    fn read_reply(&mut self, id: OutboundId) -> Result<OutboundRow, Failure> {
        outbound::read(self, id)
    }

    fn reply_mark(&mut self, id: OutboundId) -> Result<OutboundMark, Failure> {
        marks::of_reply(self, id.0)
    }

    fn write_reply_mark(&mut self, id: OutboundId, before: OutboundState, after: OutboundMark) -> Result<(), Failure> {
        outbound::write_mark(self, id, before, after)
    }

    fn list_replies(&mut self, list: &ListOutbound) -> Result<Vec<OutboundRow>, Failure> {
        outbound::list(self, list)
    }

    fn append_history(&mut self, append: &AppendHistory) -> Result<(), Failure> {
        history::append(self, append)
    }

    fn load_history(&mut self, load: &LoadHistory) -> Result<Vec<HistoryEntry>, Failure> {
        history::load(self, load)
    }

    fn list_rows(&mut self, list: &ListRows) -> Result<RowsPage, Failure> {
        listing::list(self, list)
    }

    fn show_row(&mut self, show: &ShowRow) -> Result<RowDetail, Failure> {
        listing::show(self, show)
    }

    fn export_rows(&mut self, request: &ExportRows) -> Result<ExportPage, Failure> {
        export::page(self, request)
    }

    fn erase_person(&mut self, request: &ErasePerson) -> Result<ErasedRows, Failure> {
        erasing::step(self, request)
    }

    fn note_restart(&mut self, start: &NoteRestart) -> Result<usize, Failure> {
        restarts::note(self, start)
    }
}
