//! The retention: ended rows, and with them the keys of duplicates, are deleted after seven days, or above five million.

use std::time::Duration;

use super::failure::StoreError;
use super::states::{INBOUND_ENDED, OUTBOUND_ENDED, RowCounts};
use super::store::{Deleted, Expiry};

/// How long an ended row is kept.
const KEPT_FOR: Duration = Duration::from_hours(7 * 24);
/// Ended rows kept of each kind: the keys of so many take some 200 MB of memory. An event that is sent again after its row was deleted
/// runs again, so this limit is for a disk and a memory that would be full otherwise.
const KEPT_ROWS: i64 = 5_000_000;
/// Rows per sweep: some 10 ms, and more than a group of commits can add.
const SLICE: i64 = 1_000;
/// Interval of sweeps.
const EVERY: Duration = Duration::from_mins(1);

/// The time of the next sweep. A sweep deletes a slice at a time, so that it delays no work.
#[derive(Debug, Default)]
pub(super) struct Retention {
    due_in: Duration,
    /// The last sweep failed: only time makes the next one due.
    has_failed: bool,
    /// Rows deleted before their time since the last warning.
    early: i64,
    /// Time until the next warning may be logged.
    warn_in: Duration,
}

impl Retention {
    /// Time until a sweep is due, if nothing else happens.
    pub(super) fn due_in(&self) -> Duration {
        self.due_in
    }

    /// Takes the time that has passed into account, and returns whether a sweep is due: by time, or because a slice of rows is in excess.
    pub(super) fn is_due(&mut self, passed: Duration, row_counts: &RowCounts) -> bool {
        self.due_in = self.due_in.saturating_sub(passed);
        self.warn_in = self.warn_in.saturating_sub(passed);
        let Expiry { excess_inbound, excess_outbound, .. } = expiry(row_counts, 0);
        self.due_in.is_zero() || (!self.has_failed && excess_inbound.max(excess_outbound) >= SLICE)
    }

    /// A sweep has ended.
    pub(super) fn swept(&mut self, outcome: &Result<Deleted, StoreError>) {
        self.has_failed = outcome.is_err();
        self.due_in = match outcome {
            Ok(Deleted { more: true, .. }) => Duration::from_secs(1),
            // After a failure as well, so that a disk that refuses writes is not asked again at once.
            Ok(_) | Err(_) => EVERY,
        };
        self.early += outcome.as_ref().map_or(0, |deleted| deleted.early);
    }

    /// Rows deleted before their time, if a warning is due; at most one in an interval of sweeps.
    pub(super) fn early(&mut self) -> Option<i64> {
        if self.early == 0 || !self.warn_in.is_zero() {
            return None;
        }
        self.warn_in = EVERY;
        Some(std::mem::take(&mut self.early))
    }
}

/// The rows that are too old at `now_ms`, or in excess.
pub(super) fn expiry(row_counts: &RowCounts, now_ms: i64) -> Expiry {
    let excess = |counts: &[i64], ended_from| counts.iter().skip(ended_from).sum::<i64>() - KEPT_ROWS;
    Expiry {
        changed_before_ms: now_ms - i64::try_from(KEPT_FOR.as_millis()).unwrap_or(i64::MAX),
        excess_inbound: excess(&row_counts.inbound, INBOUND_ENDED),
        excess_outbound: excess(&row_counts.outbound, OUTBOUND_ENDED),
        slice: SLICE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excess_page_is_swept_at_once_and_not_only_at_the_interval() {
        let mut retention = Retention { due_in: EVERY, ..Retention::default() };
        let mut row_counts = RowCounts::default();
        row_counts.inbound[INBOUND_ENDED] = KEPT_ROWS + SLICE - 1;
        assert!(!retention.is_due(Duration::from_secs(1), &row_counts));
        row_counts.inbound[INBOUND_ENDED] += 1;
        assert!(retention.is_due(Duration::ZERO, &row_counts));
        assert!(retention.is_due(EVERY, &RowCounts::default()));
    }

    #[test]
    fn the_next_slice_follows_in_a_second_and_a_sweep_that_failed_is_not_repeated_at_once() {
        let mut retention = Retention::default();
        let deleted = |more| Ok(Deleted { delta: RowCounts::default(), early: 0, more });
        let failed = Err(StoreError { class: crate::ledger::failure::ErrorClass::Temporary, text: String::new() });
        for (outcome, due_in) in [(deleted(true), Duration::from_secs(1)), (deleted(false), EVERY), (failed, EVERY)] {
            retention.swept(&outcome);
            assert_eq!(retention.due_in(), due_in);
        }
        // Nor because many rows are in excess.
        let mut row_counts = RowCounts::default();
        row_counts.inbound[INBOUND_ENDED] = KEPT_ROWS + 2 * SLICE;
        assert!(!retention.is_due(EVERY / 2, &row_counts));
        assert!(retention.is_due(EVERY / 2, &row_counts));
    }

    #[test]
    fn rows_that_are_deleted_before_their_time_are_reported_once_a_minute_with_their_number() {
        let mut retention = Retention::default();
        let mut sweep = |early| {
            retention.swept(&Ok(Deleted { delta: RowCounts::default(), early, more: true }));
            retention.early()
        };
        assert_eq!([sweep(0), sweep(3), sweep(4), sweep(5)], [None, Some(3), None, None]);
        assert!(!retention.is_due(Duration::from_millis(1), &RowCounts::default()));
        assert_eq!(retention.early(), None);
        assert!(retention.is_due(EVERY, &RowCounts::default()));
        assert_eq!((retention.early(), retention.early()), (Some(9), None));
    }
}
