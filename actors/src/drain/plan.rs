//! Whether the gate is open: requests by message, markers on disk, and the shutdown of the process.
//!
//! A reading of the disk can be older than the last order. So each reading carries the number of orders at its start, and is dropped
//! if an order arrived in between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use caduceus_contract::files::marker::MarkerReading;
use caduceus_contract::messages::drain::{Origin, Refusal};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::turn_id::TurnId;

/// What a drain covers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum DrainScope {
    /// Every profile.
    Gateway,
    /// One named profile.
    Profile(ProfileName),
}

/// One drain in force.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ActiveDrain {
    /// On the clock of the gate.
    pub(super) since: Duration,
    pub(super) requested_at: Option<String>,
    pub(super) principal: Option<String>,
    pub(super) suppressed: bool,
    pub(super) deadline: Option<Timestamp>,
    /// The turns that requested it; the drain does not wait for them.
    pub(super) requesters: BTreeSet<TurnId>,
    /// Whether the marker was seen on disk: only then does its absence end the drain.
    pub(super) durable: bool,
    /// The number of the order that began or renewed it.
    pub(super) order: u64,
}

/// The state of the gate. It outlives the actor, so a restart loses neither a shutdown nor a drain without a marker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct GatePlan {
    stopping: bool,
    drains: BTreeMap<DrainScope, ActiveDrain>,
    /// Counts the orders; a reading begun before the last one is dropped.
    orders: u64,
}

/// What a reading of the disk changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing to report.
    None,
    /// A drain began.
    Began,
    /// A drain ended.
    Ended,
}

impl GatePlan {
    /// Whether a turn may start.
    pub(super) fn admit(&self, profile: &ProfileName, origin: Origin) -> Result<(), Refusal> {
        if self.stopping {
            return Err(Refusal::Stopping);
        }
        let drained = self.is_draining() || self.drains.contains_key(&DrainScope::Profile(profile.clone()));
        match origin {
            Origin::External if drained => Err(Refusal::Draining),
            Origin::External | Origin::Internal => Ok(()),
        }
    }

    /// Closes the gate at once. The marker is not on disk yet.
    pub(super) fn begin(&mut self, scope: DrainScope, mut drain: ActiveDrain) {
        self.orders += 1;
        // Renewing a drain keeps its age, and two turns that requested it do not wait for each other.
        if let Some(on) = self.drains.get(&scope) {
            drain.since = on.since;
            drain.requesters.extend(&on.requesters);
        }
        self.drains.insert(scope, ActiveDrain { durable: false, order: self.orders, ..drain });
    }

    /// The marker of a drain is on disk.
    pub(super) fn written(&mut self, scope: &DrainScope) {
        self.orders += 1;
        if let Some(drain) = self.drains.get_mut(scope) {
            drain.durable = true;
        }
    }

    /// The marker is about to be removed: its absence then changes nothing.
    pub(super) fn removing(&mut self, scope: &DrainScope) {
        if let Some(drain) = self.drains.get_mut(scope) {
            drain.durable = false;
        }
    }

    /// The removal of the marker, ordered at `ordered`, failed: another process may still remove it. A drain begun since has a marker of
    /// its own, which may not be written yet.
    pub(super) fn not_removed(&mut self, scope: &DrainScope, ordered: u64) {
        if let Some(drain) = self.drains.get_mut(scope).filter(|drain| drain.order <= ordered) {
            drain.durable = true;
        }
    }

    /// The marker was removed, as ordered at `ordered`: the drain is over, unless it was begun again since.
    pub(super) fn removed(&mut self, scope: &DrainScope, ordered: u64) -> Change {
        self.orders += 1;
        match self.drains.get_mut(scope) {
            Some(drain) if drain.order <= ordered => {
                self.drains.remove(scope);
                Change::Ended
            }
            Some(drain) => {
                // Its marker is written by a later order, which may fail.
                drain.durable = false;
                Change::None
            }
            None => Change::None,
        }
    }

    /// Admits nothing from now on, independent of the markers.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
    }

    /// The stamp for a reading, or a removal, that begins now.
    pub(super) fn orders(&self) -> u64 {
        self.orders
    }

    /// The content of the disk for `scope`, from a reading that began at `orders`.
    pub(super) fn seen(
        &mut self,
        scope: DrainScope,
        orders: u64,
        reading: Option<&MarkerReading>,
        now: Duration,
    ) -> Change {
        if orders != self.orders {
            return Change::None;
        }
        match (reading.filter(|reading| reading.draining), self.drains.get_mut(&scope)) {
            (None, None) => Change::None,
            (None, Some(drain)) if !drain.durable => Change::None,
            (None, Some(_)) => {
                self.drains.remove(&scope);
                Change::Ended
            }
            (Some(reading), Some(drain)) => {
                // Another process may have replaced the marker meanwhile.
                drain.durable = true;
                drain.suppressed = reading.suppressed;
                drain.deadline = reading.deadline;
                drain.principal.clone_from(&reading.principal);
                drain.requested_at.clone_from(&reading.requested_at);
                Change::None
            }
            (Some(reading), None) => {
                let drain = ActiveDrain {
                    since: now,
                    requested_at: reading.requested_at.clone(),
                    principal: reading.principal.clone(),
                    suppressed: reading.suppressed,
                    deadline: reading.deadline,
                    requesters: BTreeSet::new(),
                    durable: true,
                    order: self.orders,
                };
                self.drains.insert(scope, drain);
                Change::Began
            }
        }
    }

    /// The scopes whose deadline has passed.
    pub(super) fn overdue(&self, now: Timestamp) -> Vec<DrainScope> {
        let due = |drain: &ActiveDrain| drain.deadline.is_some_and(|deadline| deadline <= now);
        self.drains.iter().filter(|(_, drain)| due(drain)).map(|(scope, _)| scope.clone()).collect()
    }

    /// Whether the whole gateway is drained by request.
    pub(super) fn is_draining(&self) -> bool {
        self.drains.contains_key(&DrainScope::Gateway)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// The drain of the whole gateway, if it is in force.
    pub(super) fn gateway(&self) -> Option<&ActiveDrain> {
        self.drains.get(&DrainScope::Gateway)
    }

    /// Profiles with a drain of their own.
    pub(super) fn profiles(&self) -> Vec<ProfileName> {
        let named = |scope: &DrainScope| match scope {
            DrainScope::Gateway => None,
            DrainScope::Profile(name) => Some(name.clone()),
        };
        self.drains.keys().filter_map(named).collect()
    }

    /// Whether a drain of `scope` is in force.
    pub(super) fn covers(&self, scope: &DrainScope) -> bool {
        self.drains.contains_key(scope)
    }

    /// Whether `turn` itself requested a drain in force.
    pub(super) fn requested_by(&self, turn: TurnId) -> bool {
        self.drains.values().any(|drain| drain.requesters.contains(&turn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::id::fresh_turn_id;

    const NOW: Duration = Duration::from_secs(100);

    fn drain() -> ActiveDrain {
        ActiveDrain {
            since: NOW,
            requested_at: None,
            principal: Some("cli".to_owned()),
            suppressed: false,
            deadline: None,
            requesters: BTreeSet::new(),
            durable: false,
            order: 0,
        }
    }

    fn work() -> ProfileName {
        ProfileName::parse("work").unwrap()
    }

    fn on_disk() -> MarkerReading {
        MarkerReading { draining: true, ..MarkerReading::default() }
    }

    fn see(plan: &mut GatePlan, reading: Option<&MarkerReading>) -> Change {
        plan.seen(DrainScope::Gateway, plan.orders(), reading, NOW)
    }

    #[test]
    fn a_drain_refuses_people_and_admits_the_gateway_itself() {
        let mut plan = GatePlan::default();
        plan.begin(DrainScope::Gateway, drain());
        assert_eq!(plan.admit(&work(), Origin::External), Err(Refusal::Draining));
        assert_eq!(plan.admit(&work(), Origin::Internal), Ok(()));
    }

    #[test]
    fn a_profile_drain_applies_to_that_profile_only() {
        let mut plan = GatePlan::default();
        plan.begin(DrainScope::Profile(work()), drain());
        assert_eq!(plan.admit(&work(), Origin::External), Err(Refusal::Draining));
        assert_eq!(plan.admit(&ProfileName::default_profile(), Origin::External), Ok(()));
        assert!(!plan.is_draining());
    }

    #[test]
    fn a_reading_older_than_the_last_order_is_dropped() {
        let mut plan = GatePlan::default();
        let before = plan.orders();
        plan.begin(DrainScope::Gateway, drain());
        plan.written(&DrainScope::Gateway);
        assert_eq!(plan.seen(DrainScope::Gateway, before, None, NOW), Change::None);
        assert!(plan.is_draining());
    }

    #[test]
    fn a_marker_that_disappeared_ends_the_drain_only_if_it_was_seen_before() {
        let mut plan = GatePlan::default();
        plan.begin(DrainScope::Gateway, drain());
        assert_eq!(see(&mut plan, None), Change::None, "the marker could not be written");
        plan.written(&DrainScope::Gateway);
        assert_eq!(see(&mut plan, None), Change::Ended);
        assert!(!plan.is_draining());
    }

    #[test]
    fn a_marker_of_a_previous_boot_drains_nothing() {
        let mut plan = GatePlan::default();
        let stale = MarkerReading { stale: true, ..MarkerReading::default() };
        assert_eq!(see(&mut plan, Some(&stale)), Change::None);
        assert_eq!(see(&mut plan, Some(&on_disk())), Change::Began);
    }

    #[test]
    fn removing_the_marker_never_ends_a_shutdown() {
        let mut plan = GatePlan::default();
        see(&mut plan, Some(&on_disk()));
        plan.stop();
        see(&mut plan, None);
        assert_eq!(plan.admit(&work(), Origin::Internal), Err(Refusal::Stopping));
    }

    #[test]
    fn a_drain_begun_again_while_its_marker_is_being_removed_stays() {
        let mut plan = GatePlan::default();
        plan.begin(DrainScope::Gateway, drain());
        let ordered = plan.orders();
        plan.begin(DrainScope::Gateway, drain());
        assert_eq!(plan.removed(&DrainScope::Gateway, ordered), Change::None);
        assert!(plan.is_draining());
        assert_eq!(plan.removed(&DrainScope::Gateway, plan.orders()), Change::Ended);
    }

    #[test]
    fn a_marker_that_could_not_be_removed_ends_the_drain_when_another_process_removes_it() {
        let mut plan = GatePlan::default();
        see(&mut plan, Some(&on_disk()));
        plan.removing(&DrainScope::Gateway);
        plan.not_removed(&DrainScope::Gateway, plan.orders());
        assert!(plan.is_draining());
        assert_eq!(see(&mut plan, None), Change::Ended);
    }

    #[test]
    fn a_drain_begun_while_its_marker_is_being_removed_does_not_end_with_that_marker() {
        let mut plan = GatePlan::default();
        plan.begin(DrainScope::Gateway, drain());
        let ordered = plan.orders();
        plan.begin(DrainScope::Gateway, drain());
        plan.written(&DrainScope::Gateway);
        assert_eq!(plan.removed(&DrainScope::Gateway, ordered), Change::None);
        assert_eq!(see(&mut plan, None), Change::None, "its own marker could not be written");
        assert!(plan.is_draining());
    }

    #[test]
    fn a_drain_begun_while_a_removal_fails_does_not_end_with_the_old_marker() {
        let mut plan = GatePlan::default();
        plan.removing(&DrainScope::Gateway);
        let ordered = plan.orders();
        plan.begin(DrainScope::Gateway, drain());
        plan.not_removed(&DrainScope::Gateway, ordered);
        assert_eq!(see(&mut plan, None), Change::None, "its own marker could not be written");
        assert!(plan.is_draining());
    }

    #[test]
    fn renewing_a_drain_keeps_its_age() {
        let mut plan = GatePlan::default();
        let first = drain();
        plan.begin(DrainScope::Gateway, first.clone());
        plan.begin(DrainScope::Gateway, drain());
        assert_eq!(plan.gateway().map(|drain| drain.since), Some(first.since));
    }

    #[test]
    fn every_turn_that_requested_a_drain_is_recorded() {
        let mut plan = GatePlan::default();
        let (first, second) = (fresh_turn_id(), fresh_turn_id());
        plan.begin(DrainScope::Gateway, ActiveDrain { requesters: [first].into(), ..drain() });
        plan.begin(DrainScope::Gateway, drain());
        plan.begin(DrainScope::Profile(work()), ActiveDrain { requesters: [second].into(), ..drain() });
        assert!(plan.requested_by(first) && plan.requested_by(second) && !plan.requested_by(fresh_turn_id()));
        assert_eq!(plan.removed(&DrainScope::Gateway, plan.orders()), Change::Ended);
        assert!(!plan.requested_by(first), "the drain that it requested is over");
    }

    #[test]
    fn a_deadline_that_has_passed_is_overdue() {
        let mut plan = GatePlan::default();
        let deadline = Timestamp::from_second(100).unwrap();
        plan.begin(DrainScope::Gateway, ActiveDrain { deadline: Some(deadline), ..drain() });
        assert_eq!(plan.overdue(Timestamp::from_second(99).unwrap()), []);
        assert_eq!(plan.overdue(deadline), [DrainScope::Gateway]);
    }
}

#[cfg(test)]
#[path = "plan_exploration.rs"]
mod exploration;
