//! All histories of one drain up to a length, with disk errors, another process that changes the marker, and late readings.

use std::collections::VecDeque;

use super::*;
use crate::exploration::{Explored, assert_value, explore};

/// Events per history; the mutants are found with fewer.
const DEPTH: usize = 9;

/// A possible defect of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum GateMutant {
    /// A removal that fails makes a drain that was begun after it depend on a marker that is not there.
    TrustsTheOldMarker,
    /// It applies a reading that is older than the last order.
    AppliesOldReadings,
    /// The end of a drain ends the shutdown too.
    EndsTheShutdown,
    /// A drain whose marker cannot be written is ignored.
    NeedsTheDisk,
    /// A cancellation ends a drain that was begun after it.
    CancelsWhatCameLater,
    /// A drain that was begun after a cancellation counts the removed marker as its own.
    KeepsTheRemovedMarker,
}

/// The plan, the marker on disk, and the guarantees so far.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
struct GateWorld {
    mutant: Option<GateMutant>,
    plan: GatePlan,
    scope: DrainScope,
    /// Whether the marker is on disk.
    marker: bool,
    /// Orders for the disk, carried out one at a time.
    orders: VecDeque<MarkerOrder>,
    /// A reading in progress: its stamp, and whether it found the marker.
    reading: Option<(u64, bool)>,
    /// A drain was answered and is not cancelled, and no other process removed its marker.
    drained: bool,
    /// The marker was on disk since the drain was last begun.
    written: bool,
    stopping: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum MarkerOrder {
    Write,
    /// `renewed`: a drain was begun after the cancellation.
    Remove {
        ordered: u64,
        renewed: bool,
    },
}

#[derive(Debug, Clone, Copy)]
enum GateEvent {
    Begin,
    Cancel,
    /// The next order is carried out, or fails.
    CarryOut {
        works: bool,
    },
    BeginReading,
    EndReading,
    OtherProcessWrites,
    OtherProcessRemoves,
    Stop,
}

impl GateWorld {
    fn new(scope: DrainScope, mutant: Option<GateMutant>) -> Self {
        Self {
            mutant,
            plan: GatePlan::default(),
            scope,
            marker: false,
            orders: VecDeque::new(),
            reading: None,
            drained: false,
            written: false,
            stopping: false,
        }
    }

    fn begin(&mut self) {
        let drain = ActiveDrain {
            since: Duration::ZERO,
            requested_at: None,
            principal: None,
            suppressed: false,
            deadline: None,
            requesters: BTreeSet::new(),
            durable: false,
            order: 0,
        };
        self.plan.begin(self.scope.clone(), drain);
        for order in &mut self.orders {
            if let MarkerOrder::Remove { renewed, .. } = order {
                *renewed = true;
            }
        }
        self.orders.push_back(MarkerOrder::Write);
        (self.drained, self.written) = (true, false);
    }

    fn carry_out(&mut self, works: bool) -> Result<(), String> {
        match self.orders.pop_front() {
            Some(MarkerOrder::Write) if works => {
                (self.marker, self.written) = (true, true);
                self.plan.written(&self.scope);
            }
            Some(MarkerOrder::Write) if self.mutant == Some(GateMutant::NeedsTheDisk) => {
                self.plan.removed(&self.scope, self.plan.orders());
            }
            Some(MarkerOrder::Remove { ordered, renewed }) if works => {
                (self.marker, self.written) = (false, false);
                let late = self.mutant == Some(GateMutant::CancelsWhatCameLater);
                let durable = self.plan.drains.get(&self.scope).is_some_and(|drain| drain.durable);
                self.plan.removed(&self.scope, if late { self.plan.orders() } else { ordered });
                if self.mutant == Some(GateMutant::KeepsTheRemovedMarker) {
                    self.plan.drains.values_mut().for_each(|drain| drain.durable = durable);
                }
                if self.mutant == Some(GateMutant::EndsTheShutdown) {
                    self.plan.stopping = false;
                }
                if !renewed {
                    self.drained = false;
                    if self.plan.covers(&self.scope) {
                        return Err("a cancelled drain continues".to_owned());
                    }
                }
            }
            Some(MarkerOrder::Remove { ordered, renewed }) => {
                let trusting = self.mutant == Some(GateMutant::TrustsTheOldMarker);
                self.plan.not_removed(&self.scope, if trusting { self.plan.orders() } else { ordered });
                // A drain that is being cancelled may end with its marker.
                self.drained &= renewed;
            }
            Some(MarkerOrder::Write) | None => {}
        }
        Ok(())
    }

    fn end_reading(&mut self) {
        let Some((stamp, found)) = self.reading.take() else { return };
        let stamp = if self.mutant == Some(GateMutant::AppliesOldReadings) { self.plan.orders() } else { stamp };
        let reading = found.then(|| MarkerReading { draining: true, ..MarkerReading::default() });
        if found && stamp == self.plan.orders() {
            // After this, the marker of another process counts as that of the drain, and may have been removed already.
            self.written = true;
            self.drained &= self.marker;
        }
        self.plan.seen(self.scope.clone(), stamp, reading.as_ref(), Duration::ZERO);
    }

    fn check(&self) -> Result<(), String> {
        let profile = ProfileName::parse("work").expect("a valid name");
        let admits = |origin| self.plan.admit(&profile, origin).is_ok();
        if self.drained && admits(Origin::External) {
            return Err("a permit after a drain was answered".to_owned());
        }
        if self.stopping && (admits(Origin::External) || admits(Origin::Internal)) {
            return Err("a permit during the shutdown".to_owned());
        }
        Ok(())
    }
}

impl Explored for GateWorld {
    type Event = GateEvent;

    fn events(&self) -> Vec<GateEvent> {
        let mut events = Vec::new();
        if self.orders.len() < 3 {
            events.push(GateEvent::Begin);
            events.extend((!self.stopping).then_some(GateEvent::Cancel));
        }
        if !self.orders.is_empty() {
            events.extend([true, false].map(|works| GateEvent::CarryOut { works }));
        }
        // A reading begins when no order is left; orders may arrive, and be carried out, before it ends.
        if self.reading.is_some() {
            events.push(GateEvent::EndReading);
        } else if self.orders.is_empty() {
            events.push(GateEvent::BeginReading);
        }
        events.push(if self.marker { GateEvent::OtherProcessRemoves } else { GateEvent::OtherProcessWrites });
        events.extend((!self.stopping).then_some(GateEvent::Stop));
        events
    }

    fn apply(&mut self, event: &GateEvent) -> Result<(), String> {
        match event {
            GateEvent::Begin => self.begin(),
            GateEvent::Cancel => {
                self.plan.removing(&self.scope);
                self.orders.push_back(MarkerOrder::Remove { ordered: self.plan.orders(), renewed: false });
            }
            GateEvent::CarryOut { works } => self.carry_out(*works)?,
            GateEvent::BeginReading => self.reading = Some((self.plan.orders(), self.marker)),
            GateEvent::EndReading => self.end_reading(),
            GateEvent::OtherProcessWrites => self.marker = true,
            GateEvent::OtherProcessRemoves => {
                self.marker = false;
                // Only the marker of the drain itself ends it.
                self.drained &= !self.written;
            }
            GateEvent::Stop => {
                self.plan.stop();
                self.stopping = true;
            }
        }
        self.check()
    }
}

fn scopes() -> [DrainScope; 2] {
    [DrainScope::Gateway, DrainScope::Profile(ProfileName::parse("work").expect("a valid name"))]
}

#[test]
fn the_plan_is_a_value() {
    assert_value::<GatePlan>();
}

#[test]
fn no_history_gives_a_permit_after_a_drain_was_answered() {
    for scope in scopes() {
        let states = explore(GateWorld::new(scope, None), DEPTH).unwrap_or_else(|broken| panic!("{broken}"));
        println!("{states} states");
        assert!(states > 1_000, "the exploration covers little: {states} states");
    }
}

#[test]
fn every_mutant_of_the_gate_is_found() {
    let mutants = [
        GateMutant::TrustsTheOldMarker,
        GateMutant::AppliesOldReadings,
        GateMutant::EndsTheShutdown,
        GateMutant::NeedsTheDisk,
        GateMutant::CancelsWhatCameLater,
        GateMutant::KeepsTheRemovedMarker,
    ];
    for mutant in mutants {
        for scope in scopes() {
            let broken = explore(GateWorld::new(scope, Some(mutant)), DEPTH).expect_err("a mutant breaks a guarantee");
            println!("{mutant:?}: {broken}");
        }
    }
}
