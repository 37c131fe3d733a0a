//! The messages of the status.

use std::sync::Arc;

use actix::Message;

use crate::status::lifecycle::ProcessPhase;
use crate::status::snapshot::Snapshot;
use caduceus_supervision::Port;

/// Something in the status has changed. The changes themselves are counted apart: many are one message.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct StatusTouched;

/// The status of now. Answered at once if the last snapshot is younger than a second and includes every change, and otherwise with the
/// next one.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Arc<Snapshot>")]
pub struct RefreshSnapshot;

/// The status as last built.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Arc<Snapshot>")]
pub struct GetSnapshot;

/// Sends every new snapshot to `to` from now on, until `to` has ended. Answered with the last one if that is younger than a second, and
/// otherwise with the next one.
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
