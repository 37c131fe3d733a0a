//! The messages of the ledger. What it answers with `Ok` is on disk.
//!
//! While the disk refuses writes, the ledger refuses messages that ask whether something may happen. Those that say what has happened it
//! owes to the disk: it keeps them, tries again until they are written, before anything later, and answers then, whether or not the
//! sender still waits. They are lost only with the process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use serde::Serialize;

use crate::json::RawJson;
pub use crate::ledger_error::LedgerError;
pub use crate::ledger_rows::{
    DEAD_LETTER, ERASED, HistoryEntry, InboundId, InboundRow, InboundState, OutboundId, OutboundRow, OutboundState,
    REFUSED_BY_DRAIN, Receipt, WaitingRow,
};
use crate::link::{LinkId, Target};
use crate::profile_name::ProfileName;
use crate::share::DispatchShare;
use crate::turn_id::TurnId;
use crate::wire::session::SessionKey;

/// What may be handed over to the ledger more than once.
pub trait ChangeOfState:
    Message<Result = Result<<Self as ChangeOfState>::Answer, LedgerError>> + Clone + Send + 'static
{
    /// The answer, once it is on disk.
    type Answer: Send + 'static;
}

impl ChangeOfState for MarkInbound {
    type Answer = ();
}

impl ChangeOfState for MarkOutbound {
    type Answer = ();
}

impl ChangeOfState for SettleTurn {
    type Answer = ();
}

impl ChangeOfState for WithdrawTurns {
    type Answer = Vec<(TurnId, InboundId)>;
}

/// A notice of the gateway: it is not repeated, so it is recorded twice if the ledger's actor fails with it.
impl ChangeOfState for RecordOutbound {
    type Answer = OutboundId;
}

/// Records an inbound event, once. It may be acknowledged as soon as this is answered `Ok`.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Recorded, LedgerError>")]
pub struct RecordInbound {
    /// Its origin, and the destination of replies.
    pub target: Arc<Target>,
    /// How it reached the gateway.
    pub receipt: Receipt,
    /// The connector's id of the frame, if it expects an acknowledgement.
    pub buffer_id: Option<String>,
    /// SHA-256 of the frame.
    pub digest: [u8; 32],
    /// The platform's id of the message; without it only the frame identifies a duplicate.
    pub message_id: Option<String>,
    /// The profile.
    pub profile: ProfileName,
    /// The session.
    pub session: SessionKey,
    /// The event as received.
    pub event: RawJson,
    /// `Received`; `Held` or `Refused` if it is not to run now; `Running` if its turn starts as soon as this is answered, which
    /// counts an attempt.
    pub state: InboundState,
    /// The turn that is to run it at once.
    pub turn: Option<TurnId>,
    /// The reason, as in [`MarkInbound`].
    pub note: Option<String>,
}

/// Answer to [`RecordInbound`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is new.
    New(InboundId),
    /// The same frame or message is recorded already; it must not run twice.
    Duplicate {
        /// The first of them in the ledger.
        id: InboundId,
        /// Its state: a waiting one may have been recorded without an answer.
        state: InboundState,
    },
}

/// Changes the state of an inbound event. One in a final state does not run again: [`LedgerError::Final`]. A change to `Running` allows
/// a turn to begin, and is carried out now or never; any other change has happened, and the ledger owes it to the disk. One that comes too
/// late, because it would move the event back or out of a final state, is logged and changes nothing.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), LedgerError>")]
pub struct MarkInbound {
    /// The event.
    pub id: InboundId,
    /// Its new state. `Running` counts an attempt.
    pub state: InboundState,
    /// The turn that runs or ran it; `None` leaves it unchanged.
    pub turn: Option<TurnId>,
    /// One word or sentence for people, without content; `None` leaves it unchanged.
    pub note: Option<String>,
}

/// Takes back turns that were to run events at once and never started, because there was no answer to [`RecordInbound`]. An event that was
/// recorded nevertheless waits, and the attempt does not count. Answered with these turns and their events. The ledger owes it to the
/// disk.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<(TurnId, InboundId)>, LedgerError>")]
pub struct WithdrawTurns {
    /// The turns.
    pub turns: Vec<TurnId>,
}

/// The inbound events in the given states, oldest first. A corrupt row is left out, logged and counted in
/// [`LedgerView::corrupt`], because one bad row must not block the good ones.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<InboundRow>, LedgerError>")]
pub struct ListInbound {
    /// Only events of these chats.
    pub share: DispatchShare,
    /// The states.
    pub states: Vec<InboundState>,
    /// Only rows after this one.
    pub after: Option<InboundId>,
    /// Limit.
    pub limit: usize,
}

/// The events in the given states, oldest first, without their content: for a dispatcher that rebuilds its queues. Corrupt rows
/// as in [`ListInbound`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<WaitingPage, LedgerError>")]
pub struct ListWaiting {
    /// Only events of these chats.
    pub share: DispatchShare,
    /// The states.
    pub states: Vec<InboundState>,
    /// Only rows after this one.
    pub after: Option<InboundId>,
    /// Limit of the rows that are read, also those of other chats.
    pub limit: usize,
}

/// Answer to [`ListWaiting`].
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingPage {
    /// The events.
    pub rows: Vec<WaitingRow>,
    /// The row after which the next page begins; `None` if this is the last one.
    pub next_after: Option<InboundId>,
}

/// One inbound event, for its turn.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<InboundRow, LedgerError>")]
pub struct ReadInbound {
    /// The event.
    pub id: InboundId,
}

/// The profiles with chats to be notified of messages that a drain refused ([`REFUSED_BY_DRAIN`]).
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Vec<ProfileName>, LedgerError>")]
pub struct ListRefusals;

/// Records for some chats of a profile a notice of how many of their messages a drain refused: one reply per chat,
/// `Pending`, and in the same transaction marks its events as notified. Answered with the links of those replies; empty: every chat
/// is notified.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<LinkId>, LedgerError>")]
pub struct RecordRefusalNotices {
    /// Only these chats.
    pub share: DispatchShare,
    /// The profile.
    pub profile: ProfileName,
    /// Limit of chats.
    pub chats: usize,
    /// Makes the action, JSON with `op`, from a chat and its count.
    pub make_action: fn(&Target, u64) -> RawJson,
}

/// The events of a chat whose turns were stopped or interrupted, newest first. Corrupt rows as in [`ListInbound`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<InterruptedPage, LedgerError>")]
pub struct ListInterrupted {
    /// The chat, with the link, the bot and the thread; its users may have a session each.
    pub chat: Arc<Target>,
    /// Only events before this one.
    pub before: Option<InboundId>,
    /// Limit of events.
    pub limit: usize,
}

/// Some of the interrupted events of a chat.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InterruptedPage {
    /// The events, newest first. There may be more before `next_before` even if they are fewer than the limit.
    pub rows: Vec<InboundRow>,
    /// Where the list continues; `None` at its end.
    pub next_before: Option<InboundId>,
}

/// Records that this process found interrupted turns at its start; a repetition counts once. Answered with the number of such
/// starts within the window, this one included.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<usize, LedgerError>")]
pub struct NoteRestart {
    /// When the process started, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// The window into the past.
    pub within: Duration,
}

/// Records a reply, or a notice of the gateway, before it is sent. The ledger owes a notice, which belongs to no turn, to the disk. A
/// repeated reply, with the same turn and number, is answered with the row of the first: its sender repeats it when it has no answer,
/// and cannot know whether it was carried out.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<OutboundId, LedgerError>")]
pub struct RecordOutbound {
    /// The event it answers.
    pub inbound: Option<InboundId>,
    /// The turn it belongs to.
    pub turn: Option<TurnId>,
    /// Its number among the replies of its turn; `None` if it is never repeated.
    pub number: Option<u32>,
    /// The link and the identity.
    pub target: Arc<Target>,
    /// The action, JSON with `op`.
    pub action: RawJson,
    /// `Sending` if it is sent now, `Pending` if it has to wait for the link.
    pub state: OutboundState,
}

/// Changes the state of an outbound message. A change to `Sending` allows it to be sent, and is carried out now or never; in a final state
/// that is refused: [`LedgerError::Final`]. Any other change has happened, and the ledger owes it to the disk. One that comes too late is
/// logged and changes nothing, as in [`MarkInbound`].
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), LedgerError>")]
pub struct MarkOutbound {
    /// The message.
    pub id: OutboundId,
    /// Its new state. `Sending` counts an attempt.
    pub state: OutboundState,
    /// The connector's id of the delivered message; `None` leaves it unchanged.
    pub message_id: Option<String>,
    /// The connector's reason for the failure; `None` leaves it unchanged.
    pub error: Option<String>,
}

/// The outbound messages in the given states, oldest first. Corrupt rows as in [`ListInbound`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<OutboundRow>, LedgerError>")]
pub struct ListOutbound {
    /// The states.
    pub states: Vec<OutboundState>,
    /// Only rows after this one.
    pub after: Option<OutboundId>,
    /// Limit.
    pub limit: usize,
}

/// Appends to the conversation of a session; the oldest entries above `keep` are deleted. The ledger owes it to the disk.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), LedgerError>")]
pub struct AppendHistory {
    /// The session.
    pub session: SessionKey,
    /// The new entries, in order.
    pub entries: Vec<HistoryEntry>,
    /// Entries kept for the session.
    pub keep: usize,
}

/// Records the end of a turn in one operation: the state of its event, of its last replies, and its conversation. A part that
/// cannot be written, because its row is corrupt or missing, does not prevent the others. The ledger owes it to the disk.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), LedgerError>")]
pub struct SettleTurn {
    /// The event; `None` if its state stays.
    pub event: Option<MarkInbound>,
    /// The replies whose results are not in the ledger yet.
    pub replies: Vec<MarkOutbound>,
    /// What is appended to the conversation. A copy shares it.
    pub history: Option<Arc<AppendHistory>>,
}

/// The last entries of a session's conversation, oldest first.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<HistoryEntry>, LedgerError>")]
pub struct LoadHistory {
    /// The session.
    pub session: SessionKey,
    /// Limit.
    pub limit: usize,
}

/// Requests the view of the ledger.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "LedgerView")]
pub struct GetLedger;

/// Answer to [`GetLedger`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LedgerView {
    /// Its path.
    pub path: PathBuf,
    /// Inbound events by state.
    pub inbound: BTreeMap<InboundState, u64>,
    /// Outbound messages by state.
    pub outbound: BTreeMap<OutboundState, u64>,
    /// Milliseconds since the oldest event in a state was recorded, for each state that is open or dead.
    pub inbound_oldest_ms: BTreeMap<InboundState, u64>,
    /// As `inbound_oldest_ms`, of outbound messages.
    pub outbound_oldest_ms: BTreeMap<OutboundState, u64>,
    /// Events and outbound messages written since the process started.
    pub written: u64,
    /// Rows found corrupt since the process started; they are not used.
    #[serde(rename = "damaged")]
    pub corrupt: u64,
    /// What else of the file was found damaged since the process started, each in a sentence. It is shown as an issue.
    #[serde(skip)]
    pub damage: Vec<String>,
    /// Why nothing can be written at present; `None` if the ledger is writable.
    #[serde(rename = "trouble")]
    pub write_error: Option<String>,
}
