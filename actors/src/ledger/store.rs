//! The interface of a database that keeps the ledger: a database that is open, and one transaction on it.
//!
//! An implementation owns how rows are stored, found, verified and deleted. What an operation means is the same for every
//! database and is above this file: which state may follow which, what counts as an attempt, what is owed, how many rows are in
//! each state. `tests/suite.rs` is what every implementation must pass.

use std::sync::Arc;

use super::failure::{Failure, StoreError};
use super::states::{OldestRows, RowCounts};
use caduceus_contract::api::ledger::{RowDetail, RowsPage};
use caduceus_contract::api::ledger_data::{ErasedPart, ExportPage};
use caduceus_contract::link::Target;
use caduceus_contract::messages::ledger::{
    AppendHistory, HistoryEntry, InboundId, InboundRow, InboundState, InterruptedPage, ListInbound, ListInterrupted,
    ListOutbound, ListWaiting, LoadHistory, NoteRestart, OutboundId, OutboundRow, OutboundState, REFUSED_BY_DRAIN,
    RecordInbound, RecordOutbound, Recorded, WaitingPage,
};
use caduceus_contract::messages::ledger_control::{ErasePerson, ExportRows, ListRows, ShowRow};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::share::DispatchShare;
use caduceus_contract::turn_id::TurnId;

/// An open database, which only the writer's thread uses. Its methods block.
pub trait Store: Send + 'static {
    /// One transaction. Dropped without a commit, it leaves nothing behind, in the database or in memory.
    type Transaction<'a>: StoreTransaction
    where
        Self: 'a;

    /// Begins a transaction, whose rows get the time `now_ms`, in milliseconds since 1970: that before any wait for the database.
    fn begin(&mut self, now_ms: i64) -> Result<Self::Transaction<'_>, StoreError>;

    /// The number of rows in each state at open.
    fn row_counts(&self) -> RowCounts;

    /// When the oldest rows were recorded. Its cost does not depend on the number of rows.
    fn oldest_rows(&mut self) -> OldestRows;

    /// The number of rows found corrupt since it was opened.
    fn corrupt_rows(&self) -> u64;

    /// What else of the database was found damaged since it was opened, each in a sentence.
    fn damage(&self) -> &[String];

    /// Makes a write without effect, to check whether the database accepts writes.
    fn probe(&mut self) -> Result<(), StoreError>;

    /// Deletes the expired rows of the next slice, and gives back room that an erasure whose client ended had taken, in a transaction of
    /// its own.
    fn delete_expired(&mut self, expiry: &Expiry) -> Result<Deleted, StoreError>;

    /// Verifies the next slice of all rows, and what else is to be checked. Returns whether something is left.
    fn check_rows(&mut self) -> Result<bool, StoreError>;

    /// Begins the checks of [`Store::check_rows`] again.
    fn check_again(&mut self);

    /// Removes what was deleted or replaced from the log. Returns the files that may have copies of rows.
    fn clear_log(&mut self) -> Result<Vec<String>, StoreError>;

    /// The reason why what is written would be lost, in a sentence, if there is one. Until a check finds none, every write is refused.
    fn check_files(&mut self) -> Option<String>;
}

/// One transaction. Each operation makes its whole change or none, so that one that fails leaves nothing behind in the
/// common commit.
pub trait StoreTransaction {
    /// Writes it to disk. An error means that nothing of it is there: an implementation that cannot know finds out first.
    fn commit(self) -> Result<Wrote, StoreError>;

    /// Whether the database ended it by itself, as some do after an error.
    fn has_ended(&self) -> bool;

    /// Adds an event with its mark, unless there is one of the same frame, or else of the same message: then nothing is added.
    fn record_event(&mut self, event: &RecordInbound, mark: InboundMark) -> Result<Recorded, Failure>;

    /// The mark of an event.
    fn event_mark(&mut self, id: InboundId) -> Result<InboundMark, Failure>;

    /// Replaces the mark of an event, which was `before`.
    fn write_event_mark(&mut self, id: InboundId, before: &InboundMark, after: InboundMark) -> Result<(), Failure>;

    /// The newest running event of each of these turns, with its mark, newest first. A corrupt one is left out: it is not that
    /// of any turn, as far as can be known.
    fn running_events(&mut self, turns: &[TurnId]) -> Result<Vec<(InboundId, InboundMark)>, Failure>;

    /// The events of a list. Corrupt ones do not count, or a short page would be treated as the last one.
    fn list_events(&mut self, list: &ListInbound) -> Result<Vec<InboundRow>, Failure>;

    /// One page of such events, without content. The content of an event is read for the dispatcher of its chat only.
    fn list_waiting(&mut self, list: &ListWaiting) -> Result<WaitingPage, Failure>;

    /// One event.
    fn read_event(&mut self, id: InboundId) -> Result<InboundRow, Failure>;

    /// The newest interrupted events of a chat that are not corrupt. It looks at some thousand interrupted events of all chats at most.
    fn list_interrupted(&mut self, list: &ListInterrupted) -> Result<InterruptedPage, Failure>;

    /// The profiles with unread events ([`InboundMark::is_unread`]).
    fn unread_profiles(&mut self) -> Result<Vec<ProfileName>, Failure>;

    /// At most `limit` chats of a profile and a dispatcher with unread events.
    fn unread_chats(
        &mut self,
        profile: &ProfileName,
        share: DispatchShare,
        limit: usize,
    ) -> Result<Vec<UnreadChat>, Failure>;

    /// Adds a reply with its mark.
    fn record_reply(&mut self, reply: &RecordOutbound, mark: OutboundMark) -> Result<OutboundId, Failure>;

    /// One reply.
    fn read_reply(&mut self, id: OutboundId) -> Result<OutboundRow, Failure>;

    /// The mark of a reply.
    fn reply_mark(&mut self, id: OutboundId) -> Result<OutboundMark, Failure>;

    /// Replaces the mark of a reply, which was in the state `before`.
    fn write_reply_mark(&mut self, id: OutboundId, before: OutboundState, after: OutboundMark) -> Result<(), Failure>;

    /// The replies of a list, as [`StoreTransaction::list_events`].
    fn list_replies(&mut self, list: &ListOutbound) -> Result<Vec<OutboundRow>, Failure>;

    /// Appends to a conversation, and deletes its oldest entries above the limit.
    fn append_history(&mut self, append: &AppendHistory) -> Result<(), Failure>;

    /// The last entries of a conversation. Corrupt ones are left out.
    fn load_history(&mut self, load: &LoadHistory) -> Result<Vec<HistoryEntry>, Failure>;

    /// One page of rows for an operator. Looks at a limited number of rows, whatever the list asks for.
    fn list_rows(&mut self, list: &ListRows) -> Result<RowsPage, Failure>;

    /// One row with all that is known of it. Of a corrupt one, that it is.
    fn show_row(&mut self, show: &ShowRow) -> Result<RowDetail, Failure>;

    /// One page of rows with their texts. Looks at a limited number of rows.
    fn export_rows(&mut self, export: &ExportRows) -> Result<ExportPage, Failure>;

    /// One step of the erasure of a person, which takes a limited time. It changes the state of no row, except that an interrupted event is
    /// refused from then on; so it is the work above that counts them.
    fn erase_person(&mut self, erase: &ErasePerson) -> Result<ErasedRows, Failure>;

    /// Adds a start and deletes those outside the window. Returns the number of those within it.
    fn note_restart(&mut self, start: &NoteRestart) -> Result<usize, Failure>;
}

/// Whether a transaction had anything to write to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrote {
    Something,
    Nothing,
}

/// What changes of an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InboundMark {
    pub(super) state: InboundState,
    pub(super) attempts: i64,
    pub(super) turn: Option<TurnId>,
    pub(super) note: Option<String>,
    /// Milliseconds since 1970 at which its turn was last marked as running; `None` after that was taken back. The database sets it to the
    /// time of the transaction when it writes that state.
    pub(super) begun_at_ms: Option<i64>,
}

impl InboundMark {
    /// Whether the chat of the event is to be notified that a drain refused it.
    pub(super) fn is_unread(&self) -> bool {
        self.state == InboundState::Refused && self.note.as_deref() == Some(REFUSED_BY_DRAIN)
    }
}

/// What changes of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OutboundMark {
    pub(super) state: OutboundState,
    pub(super) attempts: i64,
    pub(super) message_id: Option<String>,
    /// The words of its connector, or of the gateway. Nothing is decided by them.
    pub(super) error: Option<String>,
    /// The reply as which an operator has sent it again.
    pub(super) sent_again_as: Option<OutboundId>,
    /// Milliseconds since 1970 at which it was last marked as being sent; `None` after it was found not to have been. The database sets it
    /// as in [`InboundMark`].
    pub(super) sent_at_ms: Option<i64>,
}

/// What a step of an erasure did.
#[derive(Debug, Default)]
pub struct ErasedRows {
    pub(super) part: ErasedPart,
    /// Interrupted events that do not run again.
    pub(super) interrupted: u64,
}

/// A chat with unread events.
#[derive(Debug)]
pub struct UnreadChat {
    /// Of its newest event that is not corrupt.
    pub(super) target: Arc<Target>,
    /// All of its unread events, oldest first.
    pub(super) events: Vec<InboundId>,
}

/// Which ended rows are to be deleted.
#[derive(Debug, Clone, Copy)]
pub struct Expiry {
    /// Those whose mark is older than this, in milliseconds since 1970.
    pub(super) changed_before_ms: i64,
    /// The number of the oldest events that are too many; none if it is not positive.
    pub(super) excess_inbound: i64,
    /// As `excess_inbound`, of replies.
    pub(super) excess_outbound: i64,
    /// Rows of each kind in a slice. The newest row of all stays in any state.
    pub(super) slice: i64,
}

/// What the retention has deleted.
#[derive(Debug, Clone, Copy)]
pub struct Deleted {
    /// The change of the number of rows.
    pub(super) delta: RowCounts,
    /// Rows among them that were in excess and not old enough.
    pub(super) early: i64,
    /// Whether the next slice may have expired rows as well, or more room can be given back.
    pub(super) more: bool,
}
