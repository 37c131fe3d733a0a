//! When a gateway requests credentials, and when it repeats the request.

use std::time::Duration;

use caduceus_supervision::Backoff;

/// The decisions of one profile about its credentials at the connector.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ProvisionPlan {
    state: ProvisionState,
    backoff: Backoff,
    /// Consecutive failures.
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ProvisionState {
    /// No request is needed.
    Idle,
    Requesting(u64),
    Waiting(u64),
    Granted(u64),
}

/// The next step. An order is identified by its fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProvisionStep {
    Nothing,
    /// Request the credentials. A running attempt is aborted, and earlier credentials are dropped.
    Ask,
    /// Repeat the request after this wait.
    AskAfter(Duration),
    /// Drop the credentials, and abort a running attempt.
    Drop,
}

impl ProvisionPlan {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { state: ProvisionState::Idle, backoff, failures: 0 }
    }

    /// The settings were read: they need this order, or none.
    pub(super) fn wanted(&mut self, order: Option<u64>) -> ProvisionStep {
        match (self.state, order) {
            (ProvisionState::Idle, None) => ProvisionStep::Nothing,
            (ProvisionState::Requesting(present) | ProvisionState::Granted(present), Some(order))
                if present == order =>
            {
                ProvisionStep::Nothing
            }
            // The file changed: try again at once, also if the order is the same.
            (_, Some(order)) => {
                self.failures = 0;
                self.state = ProvisionState::Requesting(order);
                ProvisionStep::Ask
            }
            (_, None) => {
                self.state = ProvisionState::Idle;
                ProvisionStep::Drop
            }
        }
    }

    /// The wait is over.
    pub(super) fn due(&mut self, order: u64) -> ProvisionStep {
        if self.state != ProvisionState::Waiting(order) {
            return ProvisionStep::Nothing;
        }
        self.state = ProvisionState::Requesting(order);
        ProvisionStep::Ask
    }

    /// The attempt at an order succeeded. `false` if that order is no longer wanted.
    pub(super) fn granted(&mut self, order: u64) -> bool {
        let counts = self.state == ProvisionState::Requesting(order);
        if counts {
            self.state = ProvisionState::Granted(order);
            self.failures = 0;
        }
        counts
    }

    /// The attempt at an order failed. `random` from `0.0..1.0` spreads the wait.
    pub(super) fn failed(&mut self, order: u64, random: f64) -> ProvisionStep {
        if self.state != ProvisionState::Requesting(order) {
            return ProvisionStep::Nothing;
        }
        self.state = ProvisionState::Waiting(order);
        let wait = self.backoff.delay(self.failures, random);
        self.failures = self.failures.saturating_add(1);
        ProvisionStep::AskAfter(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exploration::assert_value;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan() -> ProvisionPlan {
        ProvisionPlan::new(Backoff::new(SECOND, SECOND * 60).unwrap())
    }

    #[test]
    fn the_plan_is_a_value() {
        assert_value::<ProvisionPlan>();
    }

    #[test]
    fn an_unchanged_order_is_requested_once() {
        let mut plan = plan();
        assert_eq!(plan.wanted(None), ProvisionStep::Nothing);
        assert_eq!(plan.wanted(Some(1)), ProvisionStep::Ask);
        assert_eq!(plan.wanted(Some(1)), ProvisionStep::Nothing);
        assert!(plan.granted(1));
        assert_eq!(plan.wanted(Some(1)), ProvisionStep::Nothing);
        assert_eq!(plan.wanted(None), ProvisionStep::Drop, "a pair was pinned");
    }

    #[test]
    fn failed_attempts_are_repeated_with_growing_waits_and_without_a_limit() {
        let mut plan = plan();
        plan.wanted(Some(1));
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(plan.failed(1, 1.0), ProvisionStep::AskAfter(SECOND * seconds));
            assert_eq!(plan.due(1), ProvisionStep::Ask);
        }
    }

    #[test]
    fn a_changed_file_ends_the_wait() {
        let mut plan = plan();
        plan.wanted(Some(1));
        plan.failed(1, 1.0);
        assert_eq!(plan.wanted(Some(1)), ProvisionStep::Ask);
        assert_eq!(plan.due(1), ProvisionStep::Nothing);
        assert_eq!(plan.failed(1, 1.0), ProvisionStep::AskAfter(SECOND));
    }

    #[test]
    fn the_outcome_of_an_older_order_is_ignored() {
        let mut plan = plan();
        plan.wanted(Some(1));
        assert_eq!(plan.wanted(Some(2)), ProvisionStep::Ask);
        assert!(!plan.granted(1));
        assert_eq!(plan.failed(1, 0.5), ProvisionStep::Nothing);
        assert!(plan.granted(2));
    }
}
