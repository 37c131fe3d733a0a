//! When a gateway asks for credentials, and when it asks again.

use std::time::Duration;

use caduceus_supervision::Backoff;

/// The decisions of one profile about its credentials at the connector.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ProvisionPlan {
    state: ProvisionState,
    backoff: Backoff,
    /// Failures in a row.
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ProvisionState {
    /// Nothing is to be asked for.
    Content,
    Asking(u64),
    Waiting(u64),
    Granted(u64),
}

/// What is to be done. An order is named by its fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProvisionStep {
    Nothing,
    /// Ask. An attempt under way is given up, and credentials from before are dropped.
    Ask,
    /// Ask again after this long.
    AskAfter(Duration),
    /// Drop the credentials, and give up an attempt under way.
    Forget,
}

impl ProvisionPlan {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { state: ProvisionState::Content, backoff, failures: 0 }
    }

    /// The settings were read: they ask for this order, or for none.
    pub(super) fn wanted(&mut self, order: Option<u64>) -> ProvisionStep {
        match (self.state, order) {
            (ProvisionState::Content, None) => ProvisionStep::Nothing,
            (ProvisionState::Asking(present) | ProvisionState::Granted(present), Some(order)) if present == order => {
                ProvisionStep::Nothing
            }
            // The file changed: try again at once, also if the order is the same.
            (_, Some(order)) => {
                self.failures = 0;
                self.state = ProvisionState::Asking(order);
                ProvisionStep::Ask
            }
            (_, None) => {
                self.state = ProvisionState::Content;
                ProvisionStep::Forget
            }
        }
    }

    /// The time to ask again has come.
    pub(super) fn due(&mut self, order: u64) -> ProvisionStep {
        if self.state != ProvisionState::Waiting(order) {
            return ProvisionStep::Nothing;
        }
        self.state = ProvisionState::Asking(order);
        ProvisionStep::Ask
    }

    /// The attempt at an order was granted. `false` if that order is no longer wanted.
    pub(super) fn granted(&mut self, order: u64) -> bool {
        let counts = self.state == ProvisionState::Asking(order);
        if counts {
            self.state = ProvisionState::Granted(order);
            self.failures = 0;
        }
        counts
    }

    /// The attempt at an order failed. `random` from `0.0..1.0` picks the wait.
    pub(super) fn failed(&mut self, order: u64, random: f64) -> ProvisionStep {
        if self.state != ProvisionState::Asking(order) {
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
    fn an_order_is_made_once_and_kept_while_it_stays_the_same() {
        let mut plan = plan();
        assert_eq!(plan.wanted(None), ProvisionStep::Nothing);
        assert_eq!(plan.wanted(Some(1)), ProvisionStep::Ask);
        assert_eq!(plan.wanted(Some(1)), ProvisionStep::Nothing);
        assert!(plan.granted(1));
        assert_eq!(plan.wanted(Some(1)), ProvisionStep::Nothing);
        assert_eq!(plan.wanted(None), ProvisionStep::Forget, "a pair was pinned");
    }

    #[test]
    fn it_is_tried_again_after_waits_that_grow_and_without_end() {
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
    fn what_comes_of_an_older_order_does_not_count() {
        let mut plan = plan();
        plan.wanted(Some(1));
        assert_eq!(plan.wanted(Some(2)), ProvisionStep::Ask);
        assert!(!plan.granted(1));
        assert_eq!(plan.failed(1, 0.5), ProvisionStep::Nothing);
        assert!(plan.granted(2));
    }
}
