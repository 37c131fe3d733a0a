//! Changes of the rows of the ledger that operators make, and the check of all rows: answers of `/api/ledger`, and of the messages behind it.

use serde::{Deserialize, Serialize};

use super::ledger::{RowId, RowState};
use crate::turn_id::TurnId;

/// Why a row is neither sent again nor dropped. In every case it is as before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowRefusal {
    /// It waits, so it runs or is sent without a request.
    #[error("{0} waits already: it is {word}", word = .1.word())]
    Waits(RowId, RowState),
    /// Its turn runs, or that of the event that it answers.
    #[error("a turn of {0} runs{turn}; stop it first: POST /api/turns/ID/stop", turn = named(*.1))]
    Runs(RowId, Option<TurnId>),
    /// It is on its way.
    #[error("{0} is being sent, and its result is awaited")]
    BeingSent(RowId),
    /// It was answered, or delivered.
    #[error("{0} is {word}; with force it is repeated, and the chat may get a second answer", word = .1.word())]
    Done(RowId, RowState),
    /// It waits for nothing, so there is nothing to drop.
    #[error("{0} is {word}: nothing is left to drop", word = .1.word())]
    Ended(RowId, RowState),
    /// It is a frame or an action that cannot be read.
    #[error("what {0} says cannot be read: it can be dropped, and not be repeated")]
    Unreadable(RowId),
    /// It is a command to the gateway, such as `/stop`.
    #[error("{0} is a command to the gateway, which is not repeated")]
    Command(RowId),
    /// What it said was erased.
    #[error("what {0} said was erased")]
    Erased(RowId),
    /// It was repeated before, as another row.
    #[error("{0} was sent again before, as {1}")]
    SentAgain(RowId, RowId),
    /// Its link is not configured, so nothing could be answered.
    #[error("the link {1} of {0} is not configured")]
    NoLink(RowId, String),
}

fn named(turn: Option<TurnId>) -> String {
    turn.map(|turn| format!(" ({turn})")).unwrap_or_default()
}

/// Answer of `POST /api/ledger/rows/{id}/retry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRowResponse {
    /// True.
    pub ok: bool,
    /// The row that was asked for.
    pub id: RowId,
    /// Its state before.
    pub was: RowState,
    /// The row that waits now: the same event, or the new row of a reply that is sent again.
    pub row: RowId,
    /// The state of that row. A reply that is `ambiguous` is sent with the mark of a possible repeat.
    pub state: RowState,
    /// What it waits for beside its turn, if that is known: `drain` or `link`.
    pub waits_for: Option<WaitsFor>,
}

/// What a row waits for that is to run or to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    /// The end of a drain.
    Drain,
    /// Its link.
    Link,
}

/// Answer of `POST /api/ledger/rows/{id}/drop`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRowResponse {
    /// True.
    pub ok: bool,
    /// The row that is dropped.
    pub id: RowId,
    /// Its state before.
    pub was: RowState,
    /// Whether its chat gets a notice: its message was acknowledged and not answered.
    pub notified: bool,
}

/// Answer of `GET /api/ledger/check` and `POST /api/ledger/check/begin`: what is known of the rows and the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerCheck {
    /// Whether a check runs, or is about to.
    pub runs: bool,
    /// Milliseconds since 1970 at which the last one began.
    pub begun_at_ms: Option<i64>,
    /// At which it ended; `None` while it runs.
    pub ended_at_ms: Option<i64>,
    /// Why it ended before all was checked.
    pub error: Option<String>,
    /// Events and replies in the ledger.
    pub rows: u64,
    /// Rows found corrupt since the ledger was opened.
    pub corrupt: u64,
    /// What else of the files was found damaged since then, each in a sentence.
    pub damage: Vec<String>,
}
