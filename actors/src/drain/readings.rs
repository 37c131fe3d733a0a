//! The state of the marker of each home, and its next work. No I/O, and the time is passed in.
//!
//! Homes are independent. One whose marker has never been read admits no turn; one whose disk does not answer counts as drained
//! until it does, because it may have a marker. A marker that was read before keeps its last state.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::plan::DrainScope;
use super::queue::{GateStep, MarkerQueue};

/// A reading that takes longer counts as hung.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// The markers of all homes. `J` is an order to write or to remove one.
pub(super) struct Readings<J>(BTreeMap<DrainScope, HomeMarker<J>>);

struct HomeMarker<J> {
    queue: MarkerQueue<J>,
    /// When the current reading began, and at which set of homes.
    reading: Option<(Instant, u64)>,
    /// The set of homes at which the last valid reading began.
    read_at: Option<u64>,
    /// Its disk does not answer: its state is old, or presumed.
    hangs: bool,
    /// The last reading failed.
    failed: bool,
}

/// A home whose disk does not answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hanging {
    pub(super) scope: DrainScope,
    /// Whether its marker was never read: then it counts as drained.
    pub(super) presumed: bool,
}

impl<J> Readings<J> {
    pub(super) fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Sets the homes.
    pub(super) fn set_homes(&mut self, scopes: impl IntoIterator<Item = DrainScope>) {
        let wanted: BTreeSet<_> = scopes.into_iter().collect();
        self.0.retain(|scope, _| wanted.contains(scope));
        for scope in wanted {
            self.0.entry(scope).or_insert_with(HomeMarker::new);
        }
    }

    /// Adds an order at the end of the home's queue.
    pub(super) fn push(&mut self, scope: &DrainScope, order: J) {
        self.0.entry(scope.clone()).or_insert_with(HomeMarker::new).queue.push(order);
    }

    /// Requests a reading that begins after this moment.
    pub(super) fn request_reading(&mut self, scope: &DrainScope) {
        if let Some(home) = self.0.get_mut(scope) {
            home.queue.request_reading();
        }
    }

    /// The next work in this home. [`Readings::done`] must follow.
    pub(super) fn next(&mut self, scope: &DrainScope) -> Option<GateStep<J>> {
        self.0.get_mut(scope)?.queue.next()
    }

    /// The next reading begins, at this set of homes.
    pub(super) fn begin_reading(&mut self, scope: &DrainScope, version: u64, now: Instant) {
        if let Some(home) = self.0.get_mut(scope) {
            home.reading = Some((now, version));
        }
    }

    /// The work from [`Readings::next`] is done. `counts`: it was a reading and no order arrived in between. Returns whether the home's disk
    /// answers again, having hung.
    pub(super) fn done(&mut self, scope: &DrainScope, counts: bool) -> bool {
        let Some(home) = self.0.get_mut(scope) else { return false };
        home.queue.done();
        let reading = home.reading.take();
        if reading.is_some() {
            home.failed = !counts;
        }
        if let (true, Some((_, version))) = (counts, reading) {
            home.read_at = Some(version);
        }
        reading.is_some() && std::mem::take(&mut home.hangs)
    }

    /// Whether an order is queued or being carried out there.
    pub(super) fn has_orders(&self, scope: &DrainScope) -> bool {
        self.0.get(scope).is_some_and(|home| home.queue.has_orders())
    }

    /// Whether the drain state of this home is known. Without a marker of its own it always is.
    pub(super) fn is_known(&self, scope: &DrainScope) -> bool {
        self.0.get(scope).is_none_or(|home| home.read_at.is_some() || home.hangs)
    }

    /// The homes whose drain state is not known yet.
    pub(super) fn unknown(&self) -> BTreeSet<DrainScope> {
        self.0.keys().filter(|scope| !self.is_known(scope)).cloned().collect()
    }

    /// Whether each home was read since the set of homes was `version`, or cannot be.
    pub(super) fn is_settled(&self, version: u64) -> bool {
        self.0.values().all(|home| home.hangs || home.read_at.is_some_and(|read| read >= version))
    }

    /// The homes whose marker could not be read.
    pub(super) fn unread(&self) -> Vec<DrainScope> {
        let unread = |home: &HomeMarker<J>| home.hangs || home.failed || home.read_at.is_none();
        self.0.iter().filter(|(_, home)| unread(home)).map(|(scope, _)| scope.clone()).collect()
    }

    /// The homes that hang by now, each once per outage. Never the gateway's own: without its home there is
    /// no gateway.
    pub(super) fn hanging(&mut self, now: Instant) -> Vec<Hanging> {
        let late = |home: &HomeMarker<J>| {
            home.reading.is_some_and(|(begun, _)| now.saturating_duration_since(begun) >= TIMEOUT)
        };
        let found =
            self.0.iter_mut().filter(|(scope, home)| **scope != DrainScope::Gateway && !home.hangs && late(home));
        let found = found.map(|(scope, home)| {
            home.hangs = true;
            Hanging { scope: scope.clone(), presumed: home.read_at.is_none() }
        });
        found.collect()
    }
}

impl<J> HomeMarker<J> {
    fn new() -> Self {
        Self { queue: MarkerQueue::new(), reading: None, read_at: None, hangs: false, failed: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use caduceus_contract::profile_name::ProfileName;

    fn profile(name: &str) -> DrainScope {
        DrainScope::Profile(ProfileName::parse(name).unwrap())
    }

    fn readings() -> Readings<&'static str> {
        let mut readings = Readings::new();
        readings.set_homes([DrainScope::Gateway, profile("hung"), profile("well")]);
        readings
    }

    fn begin(readings: &mut Readings<&'static str>, scope: &DrainScope, now: Instant) {
        readings.request_reading(scope);
        assert_eq!(readings.next(scope), Some(GateStep::Read));
        readings.begin_reading(scope, 1, now);
    }

    #[test]
    fn a_home_that_hangs_delays_no_other() {
        let (mut readings, now) = (readings(), Instant::now());
        begin(&mut readings, &profile("hung"), now);
        for scope in [DrainScope::Gateway, profile("well")] {
            begin(&mut readings, &scope, now);
            assert!(!readings.done(&scope, true));
            assert!(readings.is_known(&scope));
            readings.push(&scope, "begin");
            assert_eq!(readings.next(&scope), Some(GateStep::Order("begin")));
        }
        assert!(!readings.is_known(&profile("hung")));
        assert!(readings.is_known(&profile("unknown")));
    }

    #[test]
    fn a_home_that_was_never_read_counts_as_drained_and_is_reported_once_per_outage() {
        let (mut readings, now) = (readings(), Instant::now());
        let hung = profile("hung");
        begin(&mut readings, &hung, now);
        begin(&mut readings, &DrainScope::Gateway, now);
        assert_eq!(readings.hanging(now), []);
        let late = now + TIMEOUT;
        assert_eq!(readings.hanging(late), [Hanging { scope: hung.clone(), presumed: true }]);
        assert_eq!(readings.hanging(late), [], "once, and never of the gateway's own home");
        assert!(readings.is_known(&hung) && !readings.is_known(&DrainScope::Gateway));
        assert!(readings.done(&hung, true), "it answers again");
        begin(&mut readings, &hung, now);
        assert_eq!(readings.hanging(late), [Hanging { scope: hung, presumed: false }]);
    }

    #[test]
    fn a_set_of_homes_is_settled_when_each_was_read_since_or_hangs() {
        let (mut readings, now) = (readings(), Instant::now());
        for scope in [DrainScope::Gateway, profile("well"), profile("hung")] {
            begin(&mut readings, &scope, now);
        }
        readings.done(&DrainScope::Gateway, true);
        readings.done(&profile("well"), true);
        assert!(!readings.is_settled(1));
        readings.hanging(now + TIMEOUT);
        assert!(readings.is_settled(1) && !readings.is_settled(2));
    }

    #[test]
    fn a_reading_that_overlaps_with_an_order_is_dropped() {
        let mut readings = readings();
        begin(&mut readings, &DrainScope::Gateway, Instant::now());
        readings.done(&DrainScope::Gateway, false);
        assert!(!readings.is_known(&DrainScope::Gateway));
    }
}
