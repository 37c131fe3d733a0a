//! How many events wait, over all dispatchers, and whether another one is taken.
//!
//! Each session has a limit of its own, but a drain or a link that is down holds any number, and there are any number of sessions. An event
//! that waits lies on disk, and takes some hundred bytes of memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A dispatcher that has refused an event takes the next one when this part of the limit is free again: otherwise one event would be refused
/// and the next one of the same chat, which is offered already, taken before it.
const FREE_PART: usize = 8;

/// The events that each dispatcher has in memory, by its number. They outlive the dispatchers. Clones share them.
#[derive(Debug, Clone)]
pub struct EventsInMemory(Arc<[AtomicUsize]>);

impl EventsInMemory {
    /// None yet, of so many dispatchers.
    #[must_use]
    pub fn of_dispatchers(dispatchers: usize) -> Self {
        Self((0..dispatchers).map(|_| AtomicUsize::default()).collect())
    }

    /// `dispatcher` has so many now. Returns how many all have; those of the others may be a moment old.
    pub(super) fn set(&self, dispatcher: usize, events: usize) -> usize {
        self.0[dispatcher].store(events, Ordering::Relaxed);
        self.0.iter().map(|events| events.load(Ordering::Relaxed)).fold(0, usize::saturating_add)
    }
}

/// Whether one dispatcher takes events that will wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Intake {
    /// It has refused one, and not taken one since.
    is_full: bool,
}

/// Whether an event that will wait is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// `is_first`: after a refusal.
    Taken { is_first: bool },
    /// `is_first`: since one was taken.
    Refused { is_first: bool },
}

impl Intake {
    /// Whether one more is taken while so many wait, of at most `limit`.
    pub(super) fn admit(&mut self, waiting: usize, limit: usize) -> Admission {
        let was_full = self.is_full;
        self.is_full = waiting >= limit || (was_full && waiting > limit - limit.div_ceil(FREE_PART));
        if self.is_full { Admission::Refused { is_first: !was_full } } else { Admission::Taken { is_first: was_full } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_up_to_the_limit_and_again_when_an_eighth_of_it_is_free() {
        let mut intake = Intake::default();
        let mut admit = |waiting| intake.admit(waiting, 80);
        assert_eq!(admit(79), Admission::Taken { is_first: false });
        assert_eq!(admit(80), Admission::Refused { is_first: true });
        assert_eq!(admit(79), Admission::Refused { is_first: false });
        assert_eq!(admit(71), Admission::Refused { is_first: false });
        assert_eq!(admit(70), Admission::Taken { is_first: true });
        assert_eq!(admit(79), Admission::Taken { is_first: false });
    }

    #[test]
    fn the_smallest_limits_are_left_again_as_well() {
        for limit in 1..20 {
            let mut intake = Intake::default();
            assert_eq!(intake.admit(limit, limit), Admission::Refused { is_first: true });
            assert_eq!(intake.admit(0, limit), Admission::Taken { is_first: true }, "{limit}");
        }
    }

    #[test]
    fn a_limit_that_is_lowered_applies_at_once() {
        let mut intake = Intake::default();
        assert_eq!(intake.admit(50, 80), Admission::Taken { is_first: false });
        assert_eq!(intake.admit(50, 40), Admission::Refused { is_first: true });
        assert_eq!(intake.admit(50, 80), Admission::Taken { is_first: true });
    }

    #[test]
    fn the_events_of_all_dispatchers_count() {
        let events = EventsInMemory::of_dispatchers(3);
        assert_eq!((events.set(0, 5), events.clone().set(2, 7), events.set(0, 1)), (5, 12, 8));
    }
}
