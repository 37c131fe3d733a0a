//! The orders to a running turn, and its news. Values only; what starts a turn is in `order.rs`.

use std::sync::Arc;

use actix::Message;
use serde_json::Value;

use super::id::TurnId;

/// Stops the turn: SIGTERM to the agent's process group, SIGKILL after 5 s. Stopping an ended turn is fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct StopTurn {
    /// Why.
    pub cause: StopCause,
}

/// Why a turn is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopCause {
    /// `/stop` in the chat.
    Asked,
    /// An interrupt from the connector, or as a signed delivery.
    Interrupt,
    /// A newer message in the session, where `sessions.busy` says `interrupt`.
    Superseded,
    /// An operator.
    Operator,
    /// The process goes down and the turn's time is over.
    Shutdown,
}

/// What the chat reads when an operator has stopped its turn.
pub const OPERATOR_STOPPED: &str = "An operator stopped the work on your last message. Send /retry to run it again.";

/// Hands an event to a running agent that can take it.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), SteerError>")]
pub struct SteerTurn {
    /// The event, as received.
    pub raw_event: Arc<Value>,
}

/// Why an event was not handed over; it is then queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SteerError {
    /// The agent's protocol has no such thing.
    #[error("this agent cannot be steered")]
    NotSteerable,
    /// The agent no longer reads.
    #[error("the agent no longer reads")]
    NotReading,
}

/// News for the dispatcher: a turn is over, and every reply of it is in the ledger.
/// Answered once the ledger has it too; until then the turn counts, so that no dispatcher takes it for cut off.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), TooEarly>")]
pub struct TurnEnded {
    /// Which.
    pub id: TurnId,
    /// How.
    pub outcome: TurnOutcome,
    /// What the agent said, for the history.
    pub reply: String,
    /// Entries of the conversation that its agent wants kept.
    pub keep: usize,
}

/// Why [`TurnEnded`] was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the dispatcher has not read the ledger yet, try again")]
pub struct TooEarly;

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnOutcome {
    /// The agent finished.
    Done,
    /// It did not; the chat gets this notice.
    Failed {
        /// One sentence for the chat, free of secrets.
        notice: String,
        /// Whether the profile's agent cannot run at all, which degrades the profile.
        agent_missing: bool,
    },
    /// It was stopped.
    Stopped(StopCause),
}
