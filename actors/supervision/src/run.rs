//! What one incarnation takes with it to its thread.

use std::time::Duration;

use crate::child_event::ExitNotifier;
use crate::control::ControlHandle;
use crate::fault::Fault;
use crate::heartbeat::Heartbeat;
use crate::incarnation::Incarnation;

/// One incarnation to be run, on its way to its thread.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) incarnation: Incarnation,
    pub(crate) control: ControlHandle,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) beat_every: Duration,
    /// Takes effect while it starts.
    pub(crate) fault: Option<Fault>,
    pub(crate) exit: ExitNotifier,
}
