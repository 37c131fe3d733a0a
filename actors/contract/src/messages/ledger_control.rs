//! The messages of operators to the ledger. What it answers with `Ok` is on disk.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix::Message;
use caduceus_supervision::{Port, port_set};

use crate::api::ledger::{RowDetail, RowId, RowState, RowsPage};
use crate::api::ledger_changes::{LedgerCheck, RowRefusal};
use crate::api::ledger_data::{ErasedPart, ErasurePlace, ExportPage, LedgerPlace, Person};
use crate::ledger_error::LedgerError;
use crate::link::LinkId;
use crate::profile_name::ProfileName;

port_set! {
    /// The ports of an operator to the ledger.
    pub struct LedgerControlPorts {
        /// Lists rows.
        pub list: Port<ListRows>,
        /// Shows one row.
        pub show: Port<ShowRow>,
        /// Shows the check of all rows, or begins one.
        pub check: Port<CheckLedger>,
        /// Exports rows.
        pub export: Port<ExportRows>,
        /// Erases what a person wrote and got.
        pub erase: Port<ErasePerson>,
        /// Erases what was deleted from the log.
        pub clear_log: Port<ClearLog>,
    }
}

/// One page of the rows in some states: events, then replies, each from the oldest on. A corrupt row is listed whatever else is asked for,
/// because its state and its profile are not known.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<RowsPage, LedgerError>")]
pub struct ListRows {
    /// The states.
    pub states: Vec<RowState>,
    /// Only rows of this profile.
    pub profile: Option<ProfileName>,
    /// Only rows of this person.
    pub person: Option<Person>,
    /// Only rows that were recorded before this, in milliseconds since 1970.
    pub recorded_before_ms: Option<i64>,
    /// Only rows after this one.
    pub after: Option<RowId>,
    /// Limit of the rows of a page.
    pub limit: usize,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Result<RowDetail, LedgerError>")]
pub struct ShowRow {
    /// The row.
    pub id: RowId,
    /// Whether the answer has its text.
    pub with_text: bool,
}

/// Who has the ledger open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerHolder {
    /// A gateway: what is marked as running or as being sent may be.
    Gateway,
    /// A command, while no gateway runs: nothing runs and nothing is being sent, whatever the rows say.
    Command,
}

/// What a retry does with an event that is done, and with a reply that was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishedRows {
    /// It is refused: the chat has its answer.
    Refuse,
    /// It is repeated, as an operator has asked for by force.
    Repeat,
}

impl FinishedRows {
    /// By the flag of a request.
    #[must_use]
    pub fn with_force(force: bool) -> Self {
        if force { Self::Repeat } else { Self::Refuse }
    }
}

/// Whether the chat of a row that is dropped may get a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropNotice {
    /// It gets one if its message was acknowledged and has no answer.
    IfUnanswered,
    /// It gets none.
    Never,
}

impl DropNotice {
    /// By the flag of a request.
    #[must_use]
    pub fn with_notify(notify: bool) -> Self {
        if notify { Self::IfUnanswered } else { Self::Never }
    }
}

/// Makes an event that has ended wait again, or records a reply again that was given up or refused. While a gateway runs, only its dispatcher
/// sends it, which has what runs and waits.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<Result<RecordedRetry, RowRefusal>, LedgerError>")]
pub struct RecordRetry {
    /// The row.
    pub id: RowId,
    /// What becomes of an event that is done, and of a reply that was delivered.
    pub finished: FinishedRows,
    /// Who has the ledger.
    pub holder: LedgerHolder,
    /// The links that are configured: an event of another one could not be answered. A reply is not asked for its link, because it is given up
    /// by its age.
    pub links: Arc<BTreeSet<LinkId>>,
}

/// Answer to [`RecordRetry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedRetry {
    /// The state before.
    pub was: RowState,
    /// The row that waits: the event, or a new row of the reply.
    pub row: RowId,
    /// The state of that row. A reply that may have arrived is `Ambiguous`, and is sent with a mark.
    pub state: RowState,
    /// Its link.
    pub link: LinkId,
}

/// Drops a row that waits, was interrupted or is dead: it is refused from then on. If its message was acknowledged and its chat has no
/// answer, a notice to the chat is recorded with it, unless none is wanted. While a gateway runs, only its dispatcher sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Result<Result<RecordedDrop, RowRefusal>, LedgerError>")]
pub struct RecordDrop {
    /// The row.
    pub id: RowId,
    /// Who has the ledger.
    pub holder: LedgerHolder,
    /// A reply that was recorded before this, in milliseconds since 1970, is not being sent by this process.
    pub process_started_ms: i64,
    /// Whether its chat may get a notice.
    pub notice: DropNotice,
}

/// Answer to [`RecordDrop`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedDrop {
    /// The state before.
    pub was: RowState,
    /// The link of the notice to its chat, if there is one.
    pub notice: Option<LinkId>,
}

/// The check of all rows and of the structure of the file, which runs in the background after each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "LedgerCheck")]
pub enum CheckLedger {
    /// Shows the last one, or the one that runs.
    Show,
    /// Begins one, unless one runs.
    Begin,
}

/// One page of all rows with their texts: events, replies, conversations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Message)]
#[rtype(result = "Result<ExportPage, LedgerError>")]
pub struct ExportRows {
    /// Only rows of this profile.
    pub profile: Option<ProfileName>,
    /// Only rows of this person, and conversations that are named after the person.
    pub person: Option<Person>,
    /// Only the conversation with this stored name, and neither events nor replies.
    pub session: Option<String>,
    /// Where the page begins.
    pub from: Option<LedgerPlace>,
}

/// One step of the erasure of a person: of events and replies that are done the text, the person and the name of the session are replaced, so
/// that a repeated event is still found; the conversations are deleted; then the room that this freed is filled with zeros. What is not done
/// is left.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<ErasedPart, LedgerError>")]
pub struct ErasePerson {
    /// The person.
    pub person: Person,
    /// Only what belongs to this profile.
    pub profile: Option<ProfileName>,
    /// Where the step begins.
    pub from: ErasurePlace,
}

/// Writes the log back and cuts it off, so that nothing that was erased is left in it. Answered with the files beside the ledger that may
/// have copies of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Result<Vec<String>, LedgerError>")]
pub struct ClearLog;
