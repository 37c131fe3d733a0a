//! The parameters with which an incarnation is started on its thread.

use crate::child_event::ExitNotifier;
use crate::fault::Fault;
use crate::incarnation::Incarnation;

/// The parameters of one incarnation.
#[derive(Debug)]
pub(crate) struct IncarnationLaunch {
    pub(crate) incarnation: Incarnation,
    /// An injected fault that takes effect during the start.
    pub(crate) fault: Option<Fault>,
    pub(crate) exit: ExitNotifier,
}
