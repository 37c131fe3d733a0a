//! The messages to a running turn, and of its end. Values only; the start of a turn is in `order.rs`.

use actix::Message;

use crate::json::RawJson;
use crate::messages::ledger::MarkOutbound;
use crate::turn_id::TurnId;

/// Stops the turn: SIGTERM to the agent's process group, SIGKILL after 5 s. Without effect on an ended turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct StopTurn {
    /// The cause.
    pub cause: StopCause,
}

/// Why a turn is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopCause {
    /// `/stop` in the chat.
    Command,
    /// An interrupt from the connector, or as a signed delivery.
    Interrupt,
    /// A newer message in the session, if `sessions.busy` is `interrupt`.
    Superseded,
    /// An operator.
    Operator,
    /// The process is stopping and the turn's time is over.
    Shutdown,
}

/// The notice to the chat when an operator has stopped its turn.
pub const OPERATOR_STOPPED: &str = "An operator stopped the work on your last message. Send /retry to run it again.";

/// Passes an event to a running agent that supports it.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), SteerError>")]
pub struct SteerTurn {
    /// The event, as received.
    pub raw_event: RawJson,
}

/// Why an event was not passed; it is then queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SteerError {
    /// The agent's protocol does not support it.
    #[error("this agent cannot be steered")]
    NotSteerable,
    /// The agent no longer reads.
    #[error("the agent no longer reads")]
    NotReading,
}

/// A turn has ended, and all its replies are in the ledger, the results of the last ones excepted.
/// Answered once the ledger has the end too; until then the turn counts, so that no dispatcher treats it as interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), DispatcherNotReady>")]
pub struct TurnEnded {
    /// The turn.
    pub id: TurnId,
    /// The outcome.
    pub outcome: TurnOutcome,
    /// The agent's reply, for the history.
    pub reply: String,
    /// Entries of the conversation that its agent keeps.
    pub keep: usize,
    /// Replies that were delivered or refused, and whose results are not in the ledger yet.
    pub replies: Vec<MarkOutbound>,
}

/// Why [`TurnEnded`] was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the dispatcher has not read the ledger yet, try again")]
pub struct DispatcherNotReady;

/// The outcome of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnOutcome {
    /// The agent finished.
    Done,
    /// It failed; the chat receives this notice.
    Failed {
        /// One sentence for the chat, free of secrets.
        notice: String,
    },
    /// It was stopped.
    Stopped(StopCause),
}
