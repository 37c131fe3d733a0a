//! The disk of the composed model: rows in memory, changed by the real operations of the ledger, one transaction each.

use std::sync::Arc;

use super::failure::{Failure, StoreError};
use super::repeats::LastReplies;
use super::store::{ErasedRows, InboundMark, OutboundMark, StoreTransaction, UnreadChat, Wrote};
use super::work::{LedgerTransaction, Work, run_for_caller};
use caduceus_contract::api::ledger::{RowDetail, RowsPage};
use caduceus_contract::api::ledger_data::ExportPage;
use caduceus_contract::link::Target;
use caduceus_contract::messages::ledger::{
    AppendHistory, HistoryEntry, InboundId, InboundRow, InboundState, InterruptedPage, LedgerError, ListInbound,
    ListInterrupted, ListOutbound, ListWaiting, LoadHistory, NoteRestart, OutboundId, OutboundRow, OutboundState,
    RecordInbound, RecordOutbound, Recorded, WaitingPage, WaitingRow,
};
use caduceus_contract::messages::ledger_control::{ErasePerson, ExportRows, ListRows, ShowRow};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::share::DispatchShare;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::session::SessionKey;

/// What is on disk. Row numbers begin at 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ModelDisk {
    /// The chat of all events and replies.
    target: Arc<Target>,
    events: Vec<EventRow>,
    replies: Vec<ReplyRow>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct EventRow {
    /// The connector's id of its frame: it identifies a duplicate.
    buffer_id: Option<String>,
    session: SessionKey,
    event: String,
    mark: InboundMark,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ReplyRow {
    inbound: Option<InboundId>,
    action: String,
    recorded_at_ms: i64,
    mark: OutboundMark,
}

impl ModelDisk {
    /// An empty disk.
    pub(crate) fn new(target: Arc<Target>) -> Self {
        Self { target, events: Vec::new(), replies: Vec::new() }
    }

    /// Does `work` in a transaction of its own, at this time.
    pub(crate) fn commit<W: Work>(&mut self, work: &W, now_ms: i64) -> Result<W::Answer, LedgerError> {
        let mut replies = LastReplies::default();
        let mut ledger = LedgerTransaction::new(self.begin(now_ms), &mut replies);
        let answer = run_for_caller(work, &mut ledger).expect("the disk of the model accepts every write");
        ledger.commit().expect("the disk of the model accepts every write");
        answer
    }

    /// Begins a transaction at this time.
    pub(super) fn begin(&mut self, now_ms: i64) -> ModelTransaction<'_> {
        ModelTransaction { rows: self.clone(), disk: self, now_ms }
    }

    /// The number of events.
    pub(super) fn event_count(&self) -> usize {
        self.events.len()
    }

    /// The row of an event.
    pub(crate) fn event(&self, id: InboundId) -> Option<InboundRow> {
        Some(inbound_row(&self.target, id, self.events.get(place(id.0)?)?))
    }

    /// The number of an event's row, by the id of its frame.
    pub(crate) fn row_of(&self, buffer_id: &str) -> Option<InboundId> {
        let row = self.events.iter().position(|row| row.buffer_id.as_deref() == Some(buffer_id))?;
        Some(InboundId(number(row)))
    }

    /// The actions of all replies, with their states.
    pub(crate) fn replies(&self) -> impl Iterator<Item = (&str, OutboundState)> {
        self.replies.iter().map(|row| (row.action.as_str(), row.mark.state))
    }

    /// Whether a reply was delivered by a repeated attempt.
    pub(crate) fn has_repeated(&self) -> bool {
        self.replies.iter().any(|row| row.mark.state == OutboundState::Delivered && row.mark.attempts > 1)
    }

    /// The state of a reply.
    pub(crate) fn reply(&self, id: OutboundId) -> Option<OutboundState> {
        Some(self.replies.get(place(id.0)?)?.mark.state)
    }

    /// The action of a reply.
    pub(crate) fn action(&self, id: OutboundId) -> Option<&str> {
        Some(self.replies.get(place(id.0)?)?.action.as_str())
    }
}

/// One transaction on a copy of the rows, which replaces them at its commit.
pub(super) struct ModelTransaction<'a> {
    rows: ModelDisk,
    disk: &'a mut ModelDisk,
    now_ms: i64,
}

fn place(row: i64) -> Option<usize> {
    usize::try_from(row).ok()
}

fn number(place: usize) -> i64 {
    i64::try_from(place).expect("the model has a few rows")
}

fn missing(table: &'static str, row: i64) -> Failure {
    LedgerError::Missing { table, row }.into()
}

impl ModelTransaction<'_> {
    fn event(&self, id: InboundId) -> Result<&EventRow, Failure> {
        place(id.0).and_then(|place| self.rows.events.get(place)).ok_or_else(|| missing("inbound", id.0))
    }

    fn reply(&self, id: OutboundId) -> Result<&ReplyRow, Failure> {
        place(id.0).and_then(|place| self.rows.replies.get(place)).ok_or_else(|| missing("outbound", id.0))
    }

    fn events(&self) -> impl DoubleEndedIterator<Item = (InboundId, &EventRow)> + ExactSizeIterator {
        self.rows.events.iter().enumerate().map(|(place, row)| (InboundId(number(place)), row))
    }
}

fn inbound_row(target: &Arc<Target>, id: InboundId, row: &EventRow) -> InboundRow {
    InboundRow {
        id,
        target: Arc::clone(target),
        profile: ProfileName::default_profile(),
        session: row.session.clone(),
        event: row.event.clone(),
        state: row.mark.state,
        attempts: u32::try_from(row.mark.attempts).expect("the model has a few attempts"),
        turn: row.mark.turn,
        received_at_ms: 0,
    }
}

fn outbound_row(target: &Arc<Target>, id: OutboundId, row: &ReplyRow) -> OutboundRow {
    OutboundRow {
        id,
        inbound: row.inbound,
        target: Arc::clone(target),
        action: row.action.clone(),
        state: row.mark.state,
        attempts: u32::try_from(row.mark.attempts).expect("the model has a few attempts"),
        recorded_at_ms: row.recorded_at_ms,
    }
}

impl StoreTransaction for ModelTransaction<'_> {
    fn commit(self) -> Result<Wrote, StoreError> {
        *self.disk = self.rows;
        Ok(Wrote::Something)
    }

    fn has_ended(&self) -> bool {
        false
    }

    fn record_event(&mut self, event: &RecordInbound, mark: InboundMark) -> Result<Recorded, Failure> {
        let same = self.events().find(|(_, row)| row.buffer_id.is_some() && row.buffer_id == event.buffer_id);
        if let Some((id, row)) = same {
            return Ok(Recorded::Duplicate { id, state: row.mark.state });
        }
        self.rows.events.push(EventRow {
            buffer_id: event.buffer_id.clone(),
            session: event.session.clone(),
            event: event.event.get().to_owned(),
            mark,
        });
        Ok(Recorded::New(InboundId(number(self.rows.events.len() - 1))))
    }

    fn event_mark(&mut self, id: InboundId) -> Result<InboundMark, Failure> {
        Ok(self.event(id)?.mark.clone())
    }

    fn write_event_mark(&mut self, id: InboundId, _: &InboundMark, mut after: InboundMark) -> Result<(), Failure> {
        self.event(id)?;
        // Nothing reads the turn of an event that does not run, and with it two states would differ that do not.
        after.turn = after.turn.filter(|_| after.state == InboundState::Running);
        self.rows.events[place(id.0).expect("it was found")].mark = after;
        Ok(())
    }

    fn running_events(&mut self, turns: &[TurnId]) -> Result<Vec<(InboundId, InboundMark)>, Failure> {
        let runs = |row: &EventRow| {
            row.mark.state == InboundState::Running && row.mark.turn.is_some_and(|turn| turns.contains(&turn))
        };
        Ok(self.events().rev().filter(|(_, row)| runs(row)).map(|(id, row)| (id, row.mark.clone())).collect())
    }

    fn list_events(&mut self, list: &ListInbound) -> Result<Vec<InboundRow>, Failure> {
        let listed =
            |(id, row): &(InboundId, &EventRow)| list.states.contains(&row.mark.state) && Some(*id) > list.after;
        Ok(self
            .events()
            .filter(listed)
            .take(list.limit)
            .map(|(id, row)| inbound_row(&self.rows.target, id, row))
            .collect())
    }

    fn list_waiting(&mut self, list: &ListWaiting) -> Result<WaitingPage, Failure> {
        let listed =
            |(id, row): &(InboundId, &EventRow)| list.states.contains(&row.mark.state) && Some(*id) > list.after;
        let waiting = |(id, row): (InboundId, &EventRow)| WaitingRow {
            id,
            link: self.rows.target.link.clone(),
            session: row.session.clone(),
            turn: row.mark.turn,
            received_at_ms: 0,
        };
        // One page has all: the model has few events.
        Ok(WaitingPage { rows: self.events().filter(listed).map(waiting).collect(), next_after: None })
    }

    fn read_event(&mut self, id: InboundId) -> Result<InboundRow, Failure> {
        Ok(inbound_row(&self.rows.target, id, self.event(id)?))
    }

    fn list_interrupted(&mut self, list: &ListInterrupted) -> Result<InterruptedPage, Failure> {
        // All events of the model are in one chat.
        let found = self.events().rev().filter(|(_, row)| row.mark.state == InboundState::Interrupted);
        let rows = found.map(|(id, row)| inbound_row(&self.rows.target, id, row)).take(list.limit).collect();
        Ok(InterruptedPage { rows, next_before: None })
    }

    fn unread_profiles(&mut self) -> Result<Vec<ProfileName>, Failure> {
        Ok(Vec::new())
    }

    fn unread_chats(&mut self, _: &ProfileName, _: DispatchShare, _: usize) -> Result<Vec<UnreadChat>, Failure> {
        Ok(Vec::new())
    }

    fn record_reply(&mut self, reply: &RecordOutbound, mark: OutboundMark) -> Result<OutboundId, Failure> {
        self.rows.replies.push(ReplyRow {
            inbound: reply.inbound,
            action: reply.action.get().to_owned(),
            recorded_at_ms: self.now_ms,
            mark,
        });
        Ok(OutboundId(number(self.rows.replies.len() - 1)))
    }

    fn read_reply(&mut self, id: OutboundId) -> Result<OutboundRow, Failure> {
        Ok(outbound_row(&self.rows.target, id, self.reply(id)?))
    }

    fn reply_mark(&mut self, id: OutboundId) -> Result<OutboundMark, Failure> {
        Ok(self.reply(id)?.mark.clone())
    }

    fn write_reply_mark(&mut self, id: OutboundId, _: OutboundState, after: OutboundMark) -> Result<(), Failure> {
        self.reply(id)?;
        self.rows.replies[place(id.0).expect("it was found")].mark = after;
        Ok(())
    }

    fn list_replies(&mut self, list: &ListOutbound) -> Result<Vec<OutboundRow>, Failure> {
        let rows = self.rows.replies.iter().enumerate().map(|(place, row)| (OutboundId(number(place)), row));
        let listed = rows.filter(|(id, row)| list.states.contains(&row.mark.state) && Some(*id) > list.after);
        let target = &self.rows.target;
        Ok(listed.take(list.limit).map(|(id, row)| outbound_row(target, id, row)).collect())
    }

    fn append_history(&mut self, _: &AppendHistory) -> Result<(), Failure> {
        Ok(())
    }

    fn load_history(&mut self, _: &LoadHistory) -> Result<Vec<HistoryEntry>, Failure> {
        Ok(Vec::new())
    }

    fn note_restart(&mut self, _: &NoteRestart) -> Result<usize, Failure> {
        Ok(1)
    }

    fn list_rows(&mut self, _: &ListRows) -> Result<RowsPage, Failure> {
        Ok(RowsPage { rows: Vec::new(), next: None })
    }

    fn show_row(&mut self, show: &ShowRow) -> Result<RowDetail, Failure> {
        Ok(RowDetail::corrupt(show.id))
    }

    fn export_rows(&mut self, _: &ExportRows) -> Result<ExportPage, Failure> {
        Ok(ExportPage { rows: Vec::new(), sessions: Vec::new(), next: None })
    }

    fn erase_person(&mut self, _: &ErasePerson) -> Result<ErasedRows, Failure> {
        Ok(ErasedRows::default())
    }
}
