//! The messages of the gate. Values only; those with a permit or a port of a turn are in `permit/messages.rs`.

use std::time::Duration;

use actix::Message;
use serde::{Deserialize, Serialize};

use crate::profile_name::ProfileName;
use crate::turn_id::TurnId;
use crate::wire::session::SessionKey;
use caduceus_supervision::{Port, port_set};

port_set! {
    /// The ports of an operator to the gate.
    pub struct DrainControlPorts {
        /// Requests the state of the gate.
        pub view: Port<GetDrain>,
        /// Begins a drain.
        pub begin: Port<BeginDrain>,
        /// Ends a drain.
        pub cancel: Port<CancelDrain>,
        /// Waits for the turns to end.
        pub await_drained: Port<AwaitDrained>,
    }
}

/// The turn of a permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnTicket {
    /// The turn.
    pub id: TurnId,
    /// Its profile.
    pub profile: ProfileName,
    /// Its session.
    pub session: SessionKey,
}

/// The cause of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A person, through a chat. A drain refuses it.
    External,
    /// The gateway itself: recovery of interrupted turns, completions. Passes the gate and is counted.
    Internal,
}

/// Why a turn may not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A drain is in force; it may end.
    #[error("the gateway is draining")]
    Draining,
    /// The process is stopping.
    #[error("the gateway is stopping")]
    Stopping,
    /// The actor of the gate was replaced while it answered.
    #[error("the gate was superseded")]
    Superseded,
}

/// Begins a drain. Beginning one that is in force renews its marker.
#[derive(Debug, Clone, Default, Message)]
#[rtype(result = "DrainBegun")]
pub struct BeginDrain {
    /// The requester, as stored in the marker.
    pub principal: String,
    /// One profile; `None` is the whole gateway.
    pub profile: Option<ProfileName>,
    /// Suppresses the notice to the home channel at the shutdown that ends this drain.
    pub suppress_notification: bool,
    /// Ends the drain automatically after this time.
    pub deadline: Option<Duration>,
    /// The turn that makes the request; the drain does not wait for its end.
    pub turn: Option<TurnId>,
}

/// Answer to [`BeginDrain`]: no turn is admitted after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainBegun {
    /// RFC 3339 UTC, as in the marker.
    pub requested_at: String,
    /// Turns in flight at this moment.
    pub active_agents: usize,
    /// Whether the marker is on disk; if not, a restart ends the drain.
    pub durable: bool,
}

/// Ends a drain; without effect if there is none.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<DrainCancelled, CancelError>")]
pub struct CancelDrain {
    /// The requester.
    pub principal: String,
    /// One profile; `None` is the whole gateway.
    pub profile: Option<ProfileName>,
}

/// Answer to [`CancelDrain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainCancelled {
    /// Whether there was one.
    pub was_draining: bool,
}

/// Why a drain continues although it was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// The marker cannot be removed.
    #[error("the drain marker could not be removed: {0}")]
    MarkerNotRemoved(String),
    /// The process is stopping, which cannot be cancelled.
    #[error("the gateway is stopping")]
    Stopping,
}

/// The process is stopping: from now on no turn is admitted, independent of the marker.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "DrainView")]
pub struct BeginShutdown;

/// Requests the view of the gate.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "DrainView")]
pub struct GetDrain;

/// Answer to [`GetDrain`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent properties, each a field of the status")]
pub struct DrainView {
    /// The whole gateway is drained, or stopping.
    pub draining: bool,
    /// The process is stopping.
    pub stopping: bool,
    /// When the drain was requested, RFC 3339 UTC.
    pub requested_at: Option<String>,
    /// The requester.
    pub principal: Option<String>,
    /// Milliseconds since the drain began.
    pub age_ms: Option<u64>,
    /// Profiles that are drained separately.
    pub profiles: Vec<ProfileName>,
    /// Turns in flight: those that work, and at least 1 while the end of a turn is not on disk.
    pub active_agents: usize,
    /// Age of the oldest turn in flight.
    pub oldest_turn_ms: Option<u64>,
    /// The turns in flight, oldest first.
    pub turns: Vec<TurnInFlight>,
    /// Turns in flight that a drain waits for: all except those that themselves requested it.
    pub waited_for: usize,
    /// The shutdown that ends this drain is not announced in the home channel.
    pub suppress_notification: bool,
    /// Whether every home that may have a marker reports file events; one that does not is polled once a second.
    pub file_events: bool,
}

/// One turn in flight, as the status shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnInFlight {
    /// The turn.
    pub turn_id: TurnId,
    /// Its profile.
    pub profile: ProfileName,
    /// Its session, as text.
    pub session_key: String,
    /// Its age.
    pub age_ms: u64,
}

/// Waits until no turn is left, at most `timeout`.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "DrainView")]
pub struct AwaitDrained {
    /// Timeout.
    pub timeout: Duration,
    /// Whether to wait also for the turns that themselves requested the drain.
    pub including_requesters: bool,
}

/// The gate opened or closed.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct DrainChanged {
    /// The whole gateway is drained, or stopping.
    pub draining: bool,
    /// The process is stopping.
    pub stopping: bool,
    /// Profiles that are drained separately.
    pub profiles: Vec<ProfileName>,
}
