//! What the keeper of the status is told and asked.

use std::sync::Arc;

use actix::Message;

use crate::status::snapshot::Snapshot;
use crate::status::words::ProcessPhase;
use caduceus_supervision::Port;

/// News: something that the status shows has changed.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct StatusTouched;

/// The status as last built.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Arc<Snapshot>")]
pub struct GetSnapshot;

/// Sends every new snapshot to `to` from now on, until `to` is gone. Answers the present one.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Arc<Snapshot>")]
pub struct Subscribe {
    /// Whom to tell.
    pub to: Port<SnapshotChanged>,
}

/// News: the status changed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct SnapshotChanged(pub Arc<Snapshot>);

/// The process takes its next step in life.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Phase {
    /// Starting, running, stopping or stopped; draining is the gate's word.
    pub phase: ProcessPhase,
    /// Why it ended, where it did.
    pub exit_reason: Option<String>,
}
