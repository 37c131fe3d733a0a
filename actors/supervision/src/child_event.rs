//! The reports of a child's runner to its supervisor.

use tokio::sync::mpsc::UnboundedSender;

use crate::exit::ExitReason;
use crate::plan::RunId;

/// A report about one incarnation. `run` identifies it within one incarnation of the supervisor, so that reports of a superseded one
/// can be recognized.
#[derive(Debug)]
pub(crate) enum ChildEvent {
    /// Its `started` hook has returned.
    Started { run: RunId },
    /// It has reported that it is ready.
    Ready { run: RunId },
    /// It was dropped, or fenced.
    Ended { run: RunId, reason: ExitReason },
}

/// Reports the end of an incarnation exactly once, also if its thread ends before it could start.
#[derive(Debug)]
pub(crate) struct ExitNotifier {
    run: RunId,
    events: UnboundedSender<ChildEvent>,
    notified: bool,
}

impl ExitNotifier {
    pub(crate) fn new(run: RunId, events: UnboundedSender<ChildEvent>) -> Self {
        Self { run, events, notified: false }
    }

    pub(crate) fn started(&self) {
        let _ = self.events.send(ChildEvent::Started { run: self.run });
    }

    pub(crate) fn ended(&mut self, reason: ExitReason) {
        if !std::mem::replace(&mut self.notified, true) {
            // There is no receiver once the supervisor itself is gone.
            let _ = self.events.send(ChildEvent::Ended { run: self.run, reason });
        }
    }
}

impl Drop for ExitNotifier {
    fn drop(&mut self) {
        self.ended(ExitReason::Killed);
    }
}
