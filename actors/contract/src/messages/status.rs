//! The messages of the status.

use std::sync::Arc;

use actix::Message;

use crate::profile_name::ProfileName;
use crate::status::lifecycle::ProcessPhase;
use crate::status::snapshot::Snapshot;
use caduceus_supervision::Port;

/// Something in the status has changed.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct StatusTouched;

/// Something in the view of this profile has changed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ProfileTouched(pub ProfileName);

/// Makes a snapshot, unless the last one was made less than a second ago. Answered once it is made.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Arc<Snapshot>")]
pub struct RefreshSnapshot;

/// The status as last built.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Arc<Snapshot>")]
pub struct GetSnapshot;

/// Sends every new snapshot to `to` from now on, until `to` has ended. Answers the current one.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Arc<Snapshot>")]
pub struct Subscribe {
    /// The subscriber.
    pub to: Port<SnapshotChanged>,
}

/// The status changed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct SnapshotChanged(pub Arc<Snapshot>);

/// The process enters its next phase.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Phase {
    /// Starting, running, stopping or stopped; draining is a state of the gate.
    pub phase: ProcessPhase,
    /// The reason of its end.
    pub exit_reason: Option<String>,
}
