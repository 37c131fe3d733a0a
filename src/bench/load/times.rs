//! Many durations and their percentiles.

use std::time::Duration;

/// Durations of one kind, in the order in which they were measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times(Vec<u32>);

impl Times {
    /// Adds one; longer than 71 minutes counts as 71 minutes.
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    /// The smallest of them that `percent` percent do not exceed, in milliseconds; 0 if there are none.
    pub(crate) fn percentile_ms(&self, percent: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        f64::from(at(&sorted, percent)) / 1_000.0
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
fn at(sorted: &[u32], percent: f64) -> u32 {
    let index = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(index.max(1) - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_durations_and_never_the_next_larger_one() {
        let mut times = Times::default();
        assert!(times.percentile_ms(50.0).abs() < f64::EPSILON, "of none");
        for ms in (1..=100).rev() {
            times.add(Duration::from_millis(ms));
        }
        for (percent, expected) in [(1.0, 1.0), (50.0, 50.0), (99.0, 99.0), (99.5, 100.0), (100.0, 100.0)] {
            let found = times.percentile_ms(percent);
            assert!((found - expected).abs() < f64::EPSILON, "{percent} percent: {found}");
        }
    }
}
