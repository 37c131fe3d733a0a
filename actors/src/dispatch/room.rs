//! How many events wait over each link, of all dispatchers, and whether another one may.
//!
//! Each session has a limit of its own, but a drain or a link that is down holds any number, and there are any number of sessions. An event
//! that waits lies on disk, and takes some hundred bytes of memory. The limit is one for each link, so that a flood over one, or one that
//! is down, takes no room from the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use caduceus_contract::link::LinkId;

/// A link has left its limit when this part of it is free: otherwise each event at the limit would be a line in the log.
const FREE_PART: usize = 8;

/// The events that wait over each link. They outlive the dispatchers. Clones share them.
#[derive(Debug, Clone)]
pub struct LinkBacklogs(Arc<BTreeMap<LinkId, LinkBacklog>>);

#[derive(Debug)]
struct LinkBacklog {
    /// The events of each dispatcher, by its number: a dispatcher that is replaced sets its own anew, and leaves those of the others.
    by_dispatcher: Box<[AtomicUsize]>,
    /// The limit was reached, and not left since. For the log only.
    is_full: AtomicBool,
}

/// Whether an event may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitAdmission {
    /// There is room.
    Waits,
    /// There is none. `is_first`: since the link left its limit.
    Refused { is_first: bool },
}

impl LinkBacklogs {
    /// Nothing waits yet over these links, for so many dispatchers.
    #[must_use]
    pub fn new(links: impl IntoIterator<Item = LinkId>, dispatchers: usize) -> Self {
        let backlog = || LinkBacklog {
            by_dispatcher: (0..dispatchers).map(|_| AtomicUsize::default()).collect(),
            is_full: AtomicBool::default(),
        };
        Self(Arc::new(links.into_iter().map(|link| (link, backlog())).collect()))
    }

    /// A new incarnation of `dispatcher` has read none of its events yet.
    pub(super) fn reset(&self, dispatcher: usize) {
        for backlog in self.0.values() {
            backlog.by_dispatcher[dispatcher].store(0, Ordering::SeqCst);
        }
    }

    /// So many events of `dispatcher` wait over `link` now. Whether the link has left its limit by that.
    pub(super) fn set(&self, link: &LinkId, dispatcher: usize, waiting: usize, limit: usize) -> bool {
        let Some(backlog) = self.0.get(link) else { return false };
        // In one order with `admit` of the others, so that of two dispatchers at the limit one at least sees the event of the other.
        backlog.by_dispatcher[dispatcher].store(waiting, Ordering::SeqCst);
        backlog.is_full.load(Ordering::Relaxed)
            && backlog.total() <= limit - limit.div_ceil(FREE_PART)
            && backlog.is_full.swap(false, Ordering::Relaxed)
    }

    /// Whether the events over `link` may wait, of which there are at most `limit`: those that were set, and so many more.
    pub(super) fn admit(&self, link: &LinkId, more: usize, limit: usize) -> WaitAdmission {
        match self.0.get(link) {
            Some(backlog) if backlog.total().saturating_add(more) > limit => {
                WaitAdmission::Refused { is_first: !backlog.is_full.swap(true, Ordering::Relaxed) }
            }
            Some(_) | None => WaitAdmission::Waits,
        }
    }
}

impl LinkBacklog {
    /// Of all dispatchers, which are few.
    fn total(&self) -> usize {
        self.by_dispatcher.iter().map(|events| events.load(Ordering::SeqCst)).fold(0, usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LIMIT: usize = 80;

    fn link(name: &str) -> LinkId {
        LinkId(name.into())
    }

    fn backlogs(dispatchers: usize) -> LinkBacklogs {
        LinkBacklogs::new([link("a"), link("b")], dispatchers)
    }

    /// One more event, with which so many wait.
    fn admit(backlogs: &LinkBacklogs, name: &str, waiting: usize) -> WaitAdmission {
        assert!(!backlogs.set(&link(name), 0, waiting, LIMIT));
        backlogs.admit(&link(name), 0, LIMIT)
    }

    #[test]
    fn events_of_a_link_wait_up_to_its_limit_and_those_of_another_link_are_not_affected() {
        let backlogs = backlogs(1);
        assert_eq!(admit(&backlogs, "a", LIMIT), WaitAdmission::Waits);
        assert_eq!(admit(&backlogs, "a", LIMIT + 1), WaitAdmission::Refused { is_first: true });
        assert_eq!(admit(&backlogs, "a", LIMIT + 1), WaitAdmission::Refused { is_first: false });
        assert_eq!(admit(&backlogs, "b", 1), WaitAdmission::Waits);
        assert_eq!(
            backlogs.admit(&link("b"), LIMIT, LIMIT),
            WaitAdmission::Refused { is_first: true },
            "with those that are not counted"
        );
        assert_eq!(admit(&backlogs, "a", LIMIT), WaitAdmission::Waits, "as soon as there is room");
        assert_eq!(admit(&backlogs, "a", LIMIT + 1), WaitAdmission::Refused { is_first: false }, "not logged again");
    }

    #[test]
    fn a_link_leaves_its_limit_once_when_an_eighth_of_it_is_free_also_the_smallest_limits() {
        for limit in 1..20 {
            let (backlogs, a) = (backlogs(1), link("a"));
            assert!(!backlogs.set(&a, 0, limit + 1, limit));
            assert_eq!(backlogs.admit(&a, 0, limit), WaitAdmission::Refused { is_first: true });
            let free = limit - limit.div_ceil(FREE_PART);
            assert!(!backlogs.set(&a, 0, free + 1, limit) && !backlogs.set(&link("b"), 0, 0, limit));
            assert!(backlogs.set(&a, 0, free, limit) && !backlogs.set(&a, 0, free, limit), "{limit}");
            assert!(!backlogs.set(&a, 0, limit + 1, limit));
            assert_eq!(backlogs.admit(&a, 0, limit), WaitAdmission::Refused { is_first: true });
        }
    }

    #[test]
    fn a_limit_that_is_changed_applies_at_once() {
        let (backlogs, a) = (backlogs(1), link("a"));
        backlogs.set(&a, 0, 50, 80);
        assert_eq!(backlogs.admit(&a, 0, 80), WaitAdmission::Waits);
        assert_eq!(backlogs.admit(&a, 0, 40), WaitAdmission::Refused { is_first: true });
        assert!(backlogs.set(&a, 0, 50, 80));
        assert_eq!(backlogs.admit(&a, 0, 80), WaitAdmission::Waits);
    }

    #[test]
    fn the_events_of_all_dispatchers_count_and_those_of_a_replaced_one_do_not() {
        let (backlogs, a) = (backlogs(3), link("a"));
        backlogs.set(&a, 0, 5, LIMIT);
        backlogs.clone().set(&a, 2, LIMIT - 4, LIMIT);
        assert_eq!(backlogs.admit(&a, 0, LIMIT), WaitAdmission::Refused { is_first: true });
        backlogs.reset(0);
        assert_eq!(backlogs.admit(&a, 0, LIMIT), WaitAdmission::Waits);
    }

    #[test]
    fn dispatchers_that_admit_at_the_same_time_never_exceed_the_limit_together() {
        const DISPATCHERS: usize = 4;
        for _ in 0..200 {
            let (backlogs, a) = (backlogs(DISPATCHERS), link("a"));
            let admitted = |dispatcher| {
                let mut waiting = 0;
                for _ in 0..LIMIT {
                    backlogs.set(&a, dispatcher, waiting + 1, LIMIT);
                    match backlogs.admit(&a, 0, LIMIT) {
                        WaitAdmission::Waits => waiting += 1,
                        WaitAdmission::Refused { .. } => drop(backlogs.set(&a, dispatcher, waiting, LIMIT)),
                    }
                }
                waiting
            };
            let all: usize = thread::scope(|scope| {
                let started = [0, 1, 2, 3].map(|dispatcher| scope.spawn(move || admitted(dispatcher)));
                started.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert!((LIMIT - DISPATCHERS..=LIMIT).contains(&all), "{all}");
        }
    }

    #[test]
    fn a_link_that_is_not_configured_has_no_limit_because_none_of_its_events_is_offered() {
        assert_eq!(backlogs(1).admit(&link("gone"), 5, 1), WaitAdmission::Waits);
        assert!(!backlogs(1).set(&link("gone"), 0, 5, 1));
    }
}
