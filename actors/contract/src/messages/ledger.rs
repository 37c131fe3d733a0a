//! What the ledger is told and asked. Everything it answers `Ok` to is on disk.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use actix::Message;
use serde::{Deserialize, Serialize};

use crate::link::{LinkId, Target};
use crate::profile_name::ProfileName;
use crate::turn_id::TurnId;
use crate::wire::action::ActionResult;
use crate::wire::session::SessionKey;

/// Row of an inbound event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct InboundId(pub i64);

/// Row of an outbound obligation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct OutboundId(pub i64);

/// Life cycle of an inbound event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InboundState {
    /// On disk, waiting for its turn.
    Received,
    /// Its turn runs.
    Running,
    /// Its turn ended well.
    Done,
    /// Its turn ended badly; the chat was told.
    Failed,
    /// Its turn was cut off by a shutdown, a crash or a stop.
    Interrupted,
    /// It was not taken; the chat was told.
    Refused,
    /// It waits for a drain to end.
    Held,
    /// Given up after too many attempts or too long a time.
    Dead,
}

/// Life cycle of an outbound obligation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboundState {
    /// Not yet handed to a link.
    Pending,
    /// Handed to a link; no answer yet.
    Sending,
    /// The connector said it succeeded.
    Delivered,
    /// The connector said it failed.
    Refused,
    /// It may or may not have been delivered.
    Ambiguous,
    /// Given up after too many attempts or too long a time.
    Dead,
}

impl OutboundState {
    /// Where a reply stands after the link has answered for it.
    #[must_use]
    pub fn after(result: &ActionResult) -> Self {
        match result {
            ActionResult { success: true, .. } => Self::Delivered,
            ActionResult { ambiguous: true, .. } => Self::Ambiguous,
            ActionResult { never_left: true, .. } => Self::Pending,
            _ => Self::Refused,
        }
    }
}

/// Writes an inbound event down, once. It may be acknowledged as soon as this is answered `Ok`.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Recorded, LedgerError>")]
pub struct RecordInbound {
    /// Where it came from and where replies go.
    pub target: Target,
    /// The connector's own name for the frame, if it wants an acknowledgement.
    pub buffer_id: Option<String>,
    /// SHA-256 of the frame.
    pub digest: [u8; 32],
    /// The platform's name for the message; without it only the frame tells a duplicate.
    pub message_id: Option<String>,
    /// Under which profile it runs.
    pub profile: ProfileName,
    /// In which session it runs.
    pub session: SessionKey,
    /// The event as received, JSON.
    pub event: String,
    /// `Received`, or `Held` / `Refused` when it is not to run now.
    pub state: InboundState,
    /// Why, as in [`MarkInbound`].
    pub note: Option<String>,
}

/// Note of an event that a drain refused and whose chat was not told yet, after the drain, that it was not read.
pub const REFUSED_BY_DRAIN: &str = "drain";

/// Answer to [`RecordInbound`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is new.
    New(InboundId),
    /// The same frame or message is already there; it is not to run twice.
    Duplicate {
        /// The first of them.
        id: InboundId,
        /// Where that one stands: one that still waits may have been written down unheard.
        state: InboundState,
    },
}

/// Moves an inbound event on. One that is done with does not run again: [`LedgerError::Over`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), LedgerError>")]
pub struct MarkInbound {
    /// Which.
    pub id: InboundId,
    /// Its new state. `Running` counts an attempt.
    pub state: InboundState,
    /// The turn that runs or ran it; `None` leaves what is there.
    pub turn: Option<TurnId>,
    /// One word or sentence for people, free of content; `None` leaves what is there.
    pub note: Option<String>,
}

/// The inbound events in the given states, oldest first. A damaged row is left out, logged and counted in
/// [`LedgerView::damaged`], for one bad row must not hold up the good ones.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<InboundRow>, LedgerError>")]
pub struct ListInbound {
    /// Which states.
    pub states: Vec<InboundState>,
    /// Only rows after this one.
    pub after: Option<InboundId>,
    /// At most so many.
    pub limit: usize,
}

/// The events in the given states, oldest first, without what they say: for a dispatcher that learns what waits. Damaged rows
/// as in [`ListInbound`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<WaitingRow>, LedgerError>")]
pub struct ListWaiting {
    /// Which states.
    pub states: Vec<InboundState>,
    /// Only rows after this one.
    pub after: Option<InboundId>,
    /// At most so many.
    pub limit: usize,
}

/// An event that waits, as a dispatcher needs to know it until its turn.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingRow {
    /// Its row.
    pub id: InboundId,
    /// Over which link it came, and so over which its replies go.
    pub link: LinkId,
    /// In which session it runs, and so under which profile.
    pub session: SessionKey,
    /// The turn that ran it last, or took it besides its own event.
    pub turn: Option<TurnId>,
    /// Milliseconds since 1970 at which it was written down.
    pub received_at_ms: i64,
}

/// One inbound event, when its turn has come.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<InboundRow, LedgerError>")]
pub struct ReadInbound {
    /// Which.
    pub id: InboundId,
}

/// The profiles that have chats to be told of messages that a drain refused ([`REFUSED_BY_DRAIN`]).
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Vec<ProfileName>, LedgerError>")]
pub struct ListUnread;

/// Writes down for some chats of a profile the word that so many of their messages were refused by a drain: one reply a chat,
/// `Pending`, and in the same step its events count as told. Answered with the links of those replies; none: nothing is left.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<LinkId>, LedgerError>")]
pub struct TellUnread {
    /// Which profile.
    pub profile: ProfileName,
    /// At most so many chats.
    pub chats: usize,
    /// Makes the action, JSON with `op`, for a chat and its count.
    pub words: fn(&Target, u64) -> String,
}

/// The newest event of a session whose turn was stopped or cut off. Damaged rows as in [`ListInbound`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Option<InboundRow>, LedgerError>")]
pub struct LastInterrupted {
    /// Which session.
    pub session: SessionKey,
}

/// Notes that this process found turns cut off when it started; noted again it counts once. Answered with the number of such
/// starts within the window, this one included.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<usize, LedgerError>")]
pub struct NoteRestart {
    /// When the process started, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// How far back others count.
    pub within: Duration,
}

/// An inbound event as it lies in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct InboundRow {
    /// Its row.
    pub id: InboundId,
    /// Where it came from and where replies go.
    pub target: Target,
    /// Under which profile it runs.
    pub profile: ProfileName,
    /// In which session it runs.
    pub session: SessionKey,
    /// The event as received, JSON.
    pub event: String,
    /// Where it stands.
    pub state: InboundState,
    /// Times it was marked `Running`.
    pub attempts: u32,
    /// The turn that ran it last.
    pub turn: Option<TurnId>,
    /// Milliseconds since 1970 at which it was written down.
    pub received_at_ms: i64,
}

/// Writes a reply down before it is sent.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<OutboundId, LedgerError>")]
pub struct RecordOutbound {
    /// The event it answers.
    pub inbound: Option<InboundId>,
    /// The turn it belongs to.
    pub turn: Option<TurnId>,
    /// Over which link, as whom.
    pub target: Target,
    /// The action, JSON with `op`.
    pub action: String,
    /// `Sending` when it goes out right now, `Pending` when it has to wait for the link.
    pub state: OutboundState,
}

/// Moves an outbound obligation on.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), LedgerError>")]
pub struct MarkOutbound {
    /// Which.
    pub id: OutboundId,
    /// Its new state. `Sending` counts an attempt.
    pub state: OutboundState,
    /// The connector's name for the delivered message; `None` leaves what is there.
    pub message_id: Option<String>,
    /// Why it failed, as the connector said; `None` leaves what is there.
    pub error: Option<String>,
}

/// The outbound obligations in the given states, oldest first. Damaged rows as in [`ListInbound`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<OutboundRow>, LedgerError>")]
pub struct ListOutbound {
    /// Which states.
    pub states: Vec<OutboundState>,
    /// Only rows after this one.
    pub after: Option<OutboundId>,
    /// At most so many.
    pub limit: usize,
}

/// An outbound obligation as it lies in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboundRow {
    /// Its row.
    pub id: OutboundId,
    /// The event it answers.
    pub inbound: Option<InboundId>,
    /// Over which link, as whom.
    pub target: Target,
    /// The action, JSON with `op`.
    pub action: String,
    /// Where it stands.
    pub state: OutboundState,
    /// Times it was handed to a link.
    pub attempts: u32,
    /// Milliseconds since 1970 at which it was written down.
    pub recorded_at_ms: i64,
}

/// Adds to the conversation of a session; the oldest entries above `keep` go.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), LedgerError>")]
pub struct AppendHistory {
    /// Which session.
    pub session: SessionKey,
    /// What was said, in order.
    pub entries: Vec<HistoryEntry>,
    /// Entries kept for the session.
    pub keep: usize,
}

/// The last entries of a session's conversation, oldest first.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Vec<HistoryEntry>, LedgerError>")]
pub struct LoadHistory {
    /// Which session.
    pub session: SessionKey,
    /// At most so many.
    pub limit: usize,
}

/// One thing said in a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// How the ledger is.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "LedgerView")]
pub struct GetLedger;

/// Answer to [`GetLedger`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LedgerView {
    /// Where it lies.
    pub path: PathBuf,
    /// Inbound events by state.
    pub inbound: BTreeMap<InboundState, u64>,
    /// Outbound obligations by state.
    pub outbound: BTreeMap<OutboundState, u64>,
    /// Events and obligations written since the process started.
    pub written: u64,
    /// Rows found damaged since the process started; they are not used.
    pub damaged: u64,
    /// Why nothing can be written at the moment, if so.
    pub trouble: Option<String>,
}

/// Why the ledger did not do what it was asked. In every case nothing is on disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The disk or the file does not take writes; worth retrying later.
    #[error("the ledger cannot be written: {0}")]
    Unwritable(String),
    /// A row does not match its checksum.
    #[error("row {row} of table {table} is damaged")]
    Damaged {
        /// Which table.
        table: &'static str,
        /// Which row.
        row: i64,
    },
    /// There is no such row, or the retention took it; retrying cannot help.
    #[error("table {table} has no row {row}")]
    Missing {
        /// Which table.
        table: &'static str,
        /// Which row.
        row: i64,
    },
    /// The event of this row is done with, so it may not run.
    #[error("the event of row {row} is done with")]
    Over {
        /// Which row.
        row: i64,
    },
    /// The writer has ended; the process is stopping.
    #[error("the ledger is closed")]
    Closed,
}
