//! The state of the gate as last received, and the reports of what its drains refused.

use caduceus_contract::messages::drain::{DrainChanged, DrainView};

/// The last state of the gate that was received.
#[derive(Debug, Default)]
pub(super) struct GateState {
    draining: bool,
    /// The process is stopping.
    stopping: bool,
    /// It is a notification of the gate; otherwise it is an answer to a query.
    notified: bool,
    /// Chats are being notified of messages that a drain refused; `true` if there may be more since that began.
    reporting_refusals: Option<bool>,
}

impl GateState {
    /// The gate sent its state.
    pub(super) fn changed(&mut self, changed: &DrainChanged) {
        (self.draining, self.stopping, self.notified) = (changed.draining, changed.stopping, true);
    }

    /// The gate answered a query. `false` if it has sent a newer state meanwhile.
    pub(super) fn answered(&mut self, gate: &DrainView) -> bool {
        if !self.notified {
            (self.draining, self.stopping) = (gate.draining, gate.stopping);
        }
        !self.notified
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Whether a round of reports to chats begins now. One at a time; if one is under way, another follows it.
    pub(super) fn begin_refusal_reports(&mut self) -> bool {
        if self.stopping {
            return false;
        }
        if let Some(more) = &mut self.reporting_refusals {
            *more = true;
            return false;
        }
        self.reporting_refusals = Some(false);
        true
    }

    /// A round of reports has ended. Whether another is to follow.
    pub(super) fn end_refusal_reports(&mut self) -> bool {
        self.reporting_refusals.take() == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_of_the_gate_takes_precedence_over_an_answer_that_arrives_later() {
        let mut gate = GateState::default();
        assert!(gate.answered(&DrainView { draining: true, ..DrainView::default() }) && gate.is_draining());
        gate.changed(&DrainChanged { draining: false, stopping: false, profiles: Vec::new() });
        assert!(!gate.answered(&DrainView { draining: true, ..DrainView::default() }) && !gate.is_draining());
    }

    #[test]
    fn one_round_of_reports_runs_at_a_time_and_another_follows_if_it_was_wanted_meanwhile() {
        let mut gate = GateState::default();
        assert!(gate.begin_refusal_reports() && !gate.begin_refusal_reports());
        assert!(gate.end_refusal_reports(), "another was wanted");
        assert!(gate.begin_refusal_reports() && !gate.end_refusal_reports());
        gate.changed(&DrainChanged { draining: true, stopping: true, profiles: Vec::new() });
        assert!(!gate.begin_refusal_reports(), "the process is stopping");
    }
}
