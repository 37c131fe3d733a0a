//! How often a child may be restarted, the delay of each restart, and what happens when the restart intensity is exceeded.
//!
//! No clock and no random source: both values are arguments.

use std::collections::VecDeque;
use std::time::Duration;

/// The restart intensity of a child, its backoff, and the healthy time after which the count is reset.
///
/// ```
/// use std::time::Duration;
/// use caduceus_supervision::{Backoff, RestartPolicy, WhenExceeded};
///
/// let policy = RestartPolicy {
///     max_restarts: 3,
///     window: Duration::from_secs(10),
///     backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5))?,
///     when_exceeded: WhenExceeded::Fail,
///     ..RestartPolicy::default()
/// };
/// # let _ = policy;
/// # Ok::<(), caduceus_supervision::BackoffError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RestartPolicy {
    /// Restarts allowed within `window`; one more exceeds the restart intensity.
    pub max_restarts: u32,
    /// Length of the sliding window.
    pub window: Duration,
    /// Waits from the second restart in a window on; the first is immediate.
    pub backoff: Backoff,
    /// An incarnation that ran for this long resets the count.
    pub healthy_after: Duration,
    /// What happens when the restart intensity is exceeded.
    pub when_exceeded: WhenExceeded,
}

/// What happens to a child that has exceeded its restart intensity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WhenExceeded {
    /// Its supervisor stops all its children and ends with an error.
    Escalate,
    /// It stays in the state `failed` until an operator resets it; its siblings continue.
    Fail,
}

impl Default for RestartPolicy {
    /// 5 restarts in 60 s, waits of up to 200 ms doubling to 30 s, healthy after 60 s, escalates.
    fn default() -> Self {
        Self {
            max_restarts: 5,
            window: Duration::from_mins(1),
            backoff: Backoff { floor: Duration::from_millis(200), ceiling: Duration::from_secs(30) },
            healthy_after: Duration::from_mins(1),
            when_exceeded: WhenExceeded::Escalate,
        }
    }
}

/// Waits with full jitter, whose upper end doubles from a floor to a ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Backoff {
    floor: Duration,
    ceiling: Duration,
}

/// Why a [`Backoff`] cannot be made.
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
    /// upper end, so that children that failed together do not restart together.
    ///
    /// ```
    /// use std::time::Duration;
    /// use caduceus_supervision::Backoff;
    ///
    /// let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30))?;
    /// assert_eq!(backoff.delay(2, 1.0), Duration::from_secs(4));
    /// assert_eq!(backoff.delay(9, 1.0), Duration::from_secs(30));
    /// # Ok::<(), caduceus_supervision::BackoffError>(())
    /// ```
    #[must_use]
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let doubled = self.floor.saturating_mul(2_u32.saturating_pow(attempt));
        doubled.min(self.ceiling).mul_f64(random.clamp(0.0, 1.0))
    }
}

/// The restarts of one child, counted against its [`RestartPolicy`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RestartIntensity {
    policy: RestartPolicy,
    /// Times of the restarts within the window, oldest first.
    recent: VecDeque<Duration>,
}

/// The decision of a [`RestartIntensity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum IntensityDecision {
    /// Restart after this time; zero for at once.
    RestartAfter(Duration),
    /// There were too many restarts in the window.
    Exceeded,
}

impl RestartIntensity {
    pub(crate) fn new(policy: RestartPolicy) -> Self {
        Self { policy, recent: VecDeque::new() }
    }

    /// Counts one restart of an incarnation that ran for `ran_for`. `random` is from `0.0..1.0`.
    pub(crate) fn count(&mut self, ran_for: Duration, now: Duration, random: f64) -> IntensityDecision {
        if ran_for >= self.policy.healthy_after {
            self.reset();
        }
        self.slide(now);
        let before = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        if before >= self.policy.max_restarts {
            return IntensityDecision::Exceeded;
        }
        self.recent.push_back(now);
        IntensityDecision::RestartAfter(match before.checked_sub(1) {
            None => Duration::ZERO,
            Some(attempt) => self.policy.backoff.delay(attempt, random),
        })
    }

    /// Resets the count of restarts.
    pub(crate) fn reset(&mut self) {
        self.recent.clear();
    }

    pub(crate) fn when_exceeded(&self) -> WhenExceeded {
        self.policy.when_exceeded
    }

    /// Length of the sliding window.
    pub(crate) fn window(&self) -> Duration {
        self.policy.window
    }

    /// Times of the restarts counted, oldest first; some may have left the window.
    pub(crate) fn recent(&self) -> impl Iterator<Item = Duration> + '_ {
        self.recent.iter().copied()
    }

    fn slide(&mut self, now: Duration) {
        while self.recent.front().is_some_and(|at| now.saturating_sub(*at) >= self.policy.window) {
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
            when_exceeded: WhenExceeded::Fail,
        }
    }

    #[test]
    fn first_restart_is_immediate_and_later_ones_wait_longer() {
        let (mut intensity, now) = (RestartIntensity::new(policy()), 100 * S);
        let waits: Vec<_> = (0..3).map(|_| intensity.count(Duration::ZERO, now, 1.0)).collect();
        assert_eq!(
            waits,
            [
                IntensityDecision::RestartAfter(Duration::ZERO),
                IntensityDecision::RestartAfter(S),
                IntensityDecision::RestartAfter(2 * S)
            ]
        );
        assert_eq!(intensity.count(Duration::ZERO, now, 1.0), IntensityDecision::Exceeded);
    }

    #[test]
    fn window_slides_restart_by_restart() {
        let (mut intensity, now) = (RestartIntensity::new(policy()), 100 * S);
        for second in [0, 4, 8] {
            assert_ne!(intensity.count(Duration::ZERO, now + second * S, 0.0), IntensityDecision::Exceeded);
        }
        assert_eq!(intensity.count(Duration::ZERO, now + 9 * S, 0.0), IntensityDecision::Exceeded);
        // At 10 s the first has left the window, the other two have not.
        assert_ne!(intensity.count(Duration::ZERO, now + 10 * S, 0.0), IntensityDecision::Exceeded);
        assert_eq!(intensity.count(Duration::ZERO, now + 11 * S, 0.0), IntensityDecision::Exceeded);
    }

    #[test]
    fn healthy_incarnation_resets_the_count() {
        let (mut intensity, now) = (RestartIntensity::new(policy()), 100 * S);
        for _ in 0..3 {
            intensity.count(Duration::ZERO, now, 0.5);
        }
        assert_eq!(intensity.count(8 * S, now + 8 * S, 0.5), IntensityDecision::RestartAfter(Duration::ZERO));
    }

    #[test]
    fn no_restart_is_allowed_by_an_intensity_of_zero() {
        let mut intensity = RestartIntensity::new(RestartPolicy { max_restarts: 0, ..policy() });
        assert_eq!(intensity.count(Duration::ZERO, 100 * S, 0.0), IntensityDecision::Exceeded);
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
            let (mut intensity, mut now, mut allowed) = (RestartIntensity::new(policy()), 100 * S, Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                if intensity.count(Duration::ZERO, now, 0.0) != IntensityDecision::Exceeded {
                    allowed.push(now);
                }
                let within = allowed.iter().filter(|at| now.saturating_sub(**at) < policy().window).count();
                prop_assert!(within <= 3);
            }
        }
    }
}
