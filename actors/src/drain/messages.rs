//! What the gate is asked, its answers, and its news. Values only; what holds a permit or the way to a turn is in `permit/messages.rs`.

use std::time::Duration;

use actix::Message;
use serde::Serialize;

use crate::profile::name::ProfileName;
use crate::relay::session::SessionKey;
use crate::turn::id::TurnId;

/// Which turn a permit is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnTicket {
    /// Which turn.
    pub id: TurnId,
    /// Under which profile it runs.
    pub profile: ProfileName,
    /// In which session it runs.
    pub session: SessionKey,
}

/// Who wants a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A person, through a chat.
    External,
    /// The gateway itself: recovery of interrupted turns, completions. Passes the gate and is counted.
    Internal,
}

/// Why a turn may not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A drain is on; it may end.
    #[error("the gateway is draining")]
    Draining,
    /// The process is going down.
    #[error("the gateway is stopping")]
    Stopping,
    /// The gate itself was superseded while it answered.
    #[error("the gate was superseded")]
    Superseded,
}

/// Begins a drain. Beginning one that is on renews its marker.
#[derive(Debug, Clone, Default, Message)]
#[rtype(result = "DrainBegun")]
pub struct BeginDrain {
    /// Who asks, as the marker keeps it.
    pub principal: String,
    /// One profile alone; `None` is the whole gateway.
    pub profile: Option<ProfileName>,
    /// Silences the broadcast to the home channel at the shutdown that ends this drain.
    pub suppress_notification: bool,
    /// Ends the drain by itself after this time.
    pub deadline: Option<Duration>,
    /// The turn that itself asks, which is not waited for.
    pub turn: Option<TurnId>,
}

/// Answer to [`BeginDrain`]: no turn is admitted after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainBegun {
    /// RFC 3339 UTC, as the marker has it.
    pub requested_at: String,
    /// Turns in flight at this moment.
    pub active_agents: usize,
    /// Whether the marker is on disk; if not, a restart forgets the drain.
    pub durable: bool,
}

/// Ends a drain. Ending none is fine.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<DrainCancelled, CancelError>")]
pub struct CancelDrain {
    /// Who asks.
    pub principal: String,
    /// One profile alone; `None` is the whole gateway.
    pub profile: Option<ProfileName>,
}

/// Answer to [`CancelDrain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainCancelled {
    /// Whether there was one.
    pub was_draining: bool,
}

/// Why a drain goes on although it was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// The marker cannot be removed.
    #[error("the drain marker could not be removed: {0}")]
    MarkerNotRemoved(String),
    /// The process is going down, which cannot be cancelled.
    #[error("the gateway is stopping")]
    Stopping,
}

/// The process goes down: from now on nothing is admitted, whatever becomes of the marker.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "DrainView")]
pub struct BeginShutdown;

/// How the gate is.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "DrainView")]
pub struct GetDrain;

/// Answer to [`GetDrain`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent answers, each a field of the status")]
pub struct DrainView {
    /// The whole gateway is drained, or stopping.
    pub draining: bool,
    /// The process is going down.
    pub stopping: bool,
    /// When the drain was asked for, RFC 3339 UTC.
    pub requested_at: Option<String>,
    /// By whom.
    pub principal: Option<String>,
    /// Milliseconds since the drain began.
    pub age_ms: Option<u64>,
    /// Profiles that are drained by themselves.
    pub profiles: Vec<ProfileName>,
    /// Turns in flight.
    pub active_agents: usize,
    /// Age of the oldest turn in flight.
    pub oldest_turn_ms: Option<u64>,
    /// The turns in flight, oldest first.
    pub turns: Vec<TurnInFlight>,
    /// Turns in flight that a drain waits for: all but those that themselves asked for it.
    pub waited_for: usize,
    /// The shutdown that ends this drain is not announced in the home channel.
    pub suppress_notification: bool,
    /// Whether every home that may hold a marker gives file events; one that does not is polled once a second.
    pub file_events: bool,
}

/// One turn in flight, as the status shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TurnInFlight {
    /// Which.
    pub turn_id: TurnId,
    /// Under which profile.
    pub profile: ProfileName,
    /// In which session, as text.
    pub session_key: String,
    /// Its age.
    pub age_ms: u64,
}

/// Waits until no turn is left, at most `timeout`.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "DrainView")]
pub struct AwaitDrained {
    /// Longest wait.
    pub timeout: Duration,
    /// Whether the turns that themselves asked for the drain are waited for, too.
    pub askers_too: bool,
}

/// News: the gate opened or closed.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct DrainChanged {
    /// The whole gateway is drained, or stopping.
    pub draining: bool,
    /// The process is going down.
    pub stopping: bool,
    /// Profiles that are drained by themselves.
    pub profiles: Vec<ProfileName>,
}
