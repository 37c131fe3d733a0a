//! How often a child may be restarted, how long to wait before each restart, and what happens when it was too often.
//!
//! Plain: `now` and the random number come in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How a child is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Restarts allowed within `window`; one more and the budget is spent.
    pub max_restarts: u32,
    /// Length of the sliding window.
    pub window: Duration,
    /// Waits from the second restart in a window on; the first is immediate.
    pub backoff: Backoff,
    /// An incarnation that ran for so long wipes the slate.
    pub healthy_after: Duration,
    /// What happens when the budget is spent.
    pub when_spent: WhenSpent,
}

/// What happens to a child that has spent its restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenSpent {
    /// Its supervisor stops all its children and gives up in turn.
    Escalate,
    /// It stays down as `failed` until an operator resets it; its siblings go on.
    Park,
}

impl Default for RestartPolicy {
    /// 5 restarts in 60 s, waits of up to 200 ms doubling to 30 s, healthy after 60 s, escalates.
    fn default() -> Self {
        Self {
            max_restarts: 5,
            window: Duration::from_mins(1),
            backoff: Backoff { floor: Duration::from_millis(200), ceiling: Duration::from_secs(30) },
            healthy_after: Duration::from_mins(1),
            when_spent: WhenSpent::Escalate,
        }
    }
}

/// Waits with full jitter, whose upper end doubles from a floor to a ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    floor: Duration,
    ceiling: Duration,
}

/// Why a [`Backoff`] cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BackoffError {
    /// The waits would shrink.
    #[error("the backoff's floor {floor:?} is above its ceiling {ceiling:?}")]
    Inverted {
        /// The floor given.
        floor: Duration,
        /// The ceiling given.
        ceiling: Duration,
    },
}

impl Backoff {
    /// A backoff whose first wait is at most `floor` and whose later ones are at most `ceiling`.
    ///
    /// # Errors
    /// [`BackoffError::Inverted`] if `floor` is above `ceiling`.
    pub fn new(floor: Duration, ceiling: Duration) -> Result<Self, BackoffError> {
        if floor > ceiling { Err(BackoffError::Inverted { floor, ceiling }) } else { Ok(Self { floor, ceiling }) }
    }

    /// Upper end of the first wait.
    #[must_use]
    pub fn floor(&self) -> Duration {
        self.floor
    }

    /// Upper end of the later waits.
    #[must_use]
    pub fn ceiling(&self) -> Duration {
        self.ceiling
    }

    /// The wait before `attempt`, counted from 0. `random` from `0.0..1.0` picks a point between nothing and the
    /// upper end: children that fell together shall not rise together.
    #[must_use]
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let doubled = self.floor.saturating_mul(2_u32.saturating_pow(attempt));
        doubled.min(self.ceiling).mul_f64(random.clamp(0.0, 1.0))
    }
}

/// What is left of a [`RestartPolicy`].
#[derive(Debug)]
pub struct Budget {
    policy: RestartPolicy,
    /// Restarts within the window, oldest first.
    recent: VecDeque<Instant>,
}

/// What a [`Budget`] allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Restart after so long; zero for at once.
    After(Duration),
    /// It was too often.
    Spent,
}

impl Budget {
    /// A full budget.
    #[must_use]
    pub fn new(policy: RestartPolicy) -> Self {
        Self { policy, recent: VecDeque::new() }
    }

    /// Asks for one restart of an incarnation that was up for `ran_for`. `random` is from `0.0..1.0`.
    pub fn spend(&mut self, ran_for: Duration, now: Instant, random: f64) -> Verdict {
        if ran_for >= self.policy.healthy_after {
            self.reset();
        }
        self.slide(now);
        let before = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        if before >= self.policy.max_restarts {
            return Verdict::Spent;
        }
        self.recent.push_back(now);
        match before.checked_sub(1) {
            None => Verdict::After(Duration::ZERO),
            Some(attempt) => Verdict::After(self.policy.backoff.delay(attempt, random)),
        }
    }

    /// Wipes the slate.
    pub fn reset(&mut self) {
        self.recent.clear();
    }

    /// What happens when it is spent.
    #[must_use]
    pub fn when_spent(&self) -> WhenSpent {
        self.policy.when_spent
    }

    /// Length of the sliding window.
    pub(super) fn window(&self) -> Duration {
        self.policy.window
    }

    /// Restarts on the slate, oldest first; some may have left the window.
    pub(super) fn recent(&self) -> impl Iterator<Item = Instant> + '_ {
        self.recent.iter().copied()
    }

    fn slide(&mut self, now: Instant) {
        while self.recent.front().is_some_and(|at| now.saturating_duration_since(*at) >= self.policy.window) {
            self.recent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);

    fn policy() -> RestartPolicy {
        RestartPolicy {
            max_restarts: 3,
            window: 10 * S,
            backoff: Backoff::new(S, 4 * S).unwrap(),
            healthy_after: 8 * S,
            when_spent: WhenSpent::Park,
        }
    }

    #[test]
    fn first_restart_is_immediate_and_later_ones_wait_longer() {
        let (mut budget, now) = (Budget::new(policy()), Instant::now());
        let waits: Vec<_> = (0..3).map(|_| budget.spend(Duration::ZERO, now, 1.0)).collect();
        assert_eq!(waits, [Verdict::After(Duration::ZERO), Verdict::After(S), Verdict::After(2 * S)]);
        assert_eq!(budget.spend(Duration::ZERO, now, 1.0), Verdict::Spent);
    }

    #[test]
    fn window_slides_restart_by_restart() {
        let (mut budget, now) = (Budget::new(policy()), Instant::now());
        for second in [0, 4, 8] {
            assert_ne!(budget.spend(Duration::ZERO, now + second * S, 0.0), Verdict::Spent);
        }
        assert_eq!(budget.spend(Duration::ZERO, now + 9 * S, 0.0), Verdict::Spent);
        // At 10 s the first has left the window, the other two have not.
        assert_ne!(budget.spend(Duration::ZERO, now + 10 * S, 0.0), Verdict::Spent);
        assert_eq!(budget.spend(Duration::ZERO, now + 11 * S, 0.0), Verdict::Spent);
    }

    #[test]
    fn healthy_incarnation_wipes_the_slate() {
        let (mut budget, now) = (Budget::new(policy()), Instant::now());
        for _ in 0..3 {
            budget.spend(Duration::ZERO, now, 0.5);
        }
        assert_eq!(budget.spend(8 * S, now + 8 * S, 0.5), Verdict::After(Duration::ZERO));
    }

    #[test]
    fn no_restart_is_allowed_by_a_budget_of_none() {
        let mut budget = Budget::new(RestartPolicy { max_restarts: 0, ..policy() });
        assert_eq!(budget.spend(Duration::ZERO, Instant::now(), 0.0), Verdict::Spent);
    }

    #[test]
    fn inverted_backoff_is_refused() {
        assert_eq!(Backoff::new(2 * S, S), Err(BackoffError::Inverted { floor: 2 * S, ceiling: S }));
    }

    proptest! {
        #[test]
        fn wait_never_exceeds_the_ceiling(attempt in 0_u32..100, random in 0.0_f64..1.0, floor in 0_u64..5_000, more in 0_u64..100_000) {
            let ceiling = Duration::from_millis(floor + more);
            let backoff = Backoff::new(Duration::from_millis(floor), ceiling).unwrap();
            prop_assert!(backoff.delay(attempt, random) <= ceiling);
        }

        #[test]
        fn window_never_holds_more_restarts_than_allowed(gaps in prop::collection::vec(0_u64..6_000, 1..60)) {
            let (mut budget, mut now, mut allowed) = (Budget::new(policy()), Instant::now(), Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                if budget.spend(Duration::ZERO, now, 0.0) != Verdict::Spent {
                    allowed.push(now);
                }
                let within = allowed.iter().filter(|at| now.duration_since(**at) < policy().window).count();
                prop_assert!(within <= 3);
            }
        }
    }
}
