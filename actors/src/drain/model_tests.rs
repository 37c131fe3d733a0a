//! The gate against a simple model: ten thousand random histories, step by step, and mutants that must be detected.
//!
//! The gate is the real one, with its plan; the work of `DrainActor` (write, remove, read, find overdue drains) is done here
//! at once and without a runtime, in the worst order: a reading that began before a step is always delivered after it.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::model::{
    GateModel, GateModelAnswer, GateModelState, GateModelStep, MarkerModel, PROFILES, ScopeModel, any_step,
};
use super::permit::{Gate, TurnPermit};
use super::plan::{ActiveDrain, DrainScope, GatePlan};
use crate::turn::id::fresh_turn_id;
use caduceus_contract::files::marker::MarkerReading;
use caduceus_contract::messages::drain::{Origin, Refusal, TurnTicket};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::wire::event::Source;
use caduceus_contract::wire::session::{SessionKey, SessionRules};

const HISTORIES: u64 = 10_000;
const STEPS: usize = 40;
/// Most mutants that may stay undetected.
const MUTANT_HISTORIES: u64 = 500;

/// A possible defect of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    /// None.
    None,
    /// It accepts every reading, including one that is older than the last order.
    BelievesOldReadings,
    /// The end of a drain ends a shutdown too.
    RevivesInShutdown,
    /// A drain whose marker cannot be written is ignored.
    NeedsTheDisk,
    /// The gateway's own drain applies to its own profile only.
    IgnoresOtherProfiles,
    /// A drain delays the gateway's own work.
    RefusesItself,
    /// A drain whose marker could not be removed continues after the marker has disappeared.
    IgnoresFailedRemoval,
}

/// The real gate, with its clock and its home.
struct GateSubject {
    mutant: Mutant,
    gate: Gate,
    permits: Vec<TurnPermit>,
    began: Timestamp,
}

fn name(profile: usize) -> ProfileName {
    // The last has no home of its own, so only the gateway's drain applies to it.
    ProfileName::parse(["work", "play", "default"][profile]).unwrap()
}

fn scope(place: ScopeModel) -> DrainScope {
    place.map_or(DrainScope::Gateway, |profile| DrainScope::Profile(name(profile)))
}

fn places() -> impl Iterator<Item = ScopeModel> {
    std::iter::once(None).chain((0..PROFILES).map(Some))
}

impl GateSubject {
    fn new(mutant: Mutant) -> Self {
        Self { mutant, gate: Gate::default(), permits: Vec::new(), began: Timestamp::now() }
    }

    fn plan<R>(&self, change: impl FnOnce(&mut GatePlan) -> R) -> R {
        self.gate.change(0, change).expect("no other owner of this gate exists")
    }

    fn at(&self, seconds: u64) -> Timestamp {
        self.began + SignedDuration::from_secs(seconds.try_into().unwrap())
    }

    /// The content of the marker for a reader now.
    fn reading(&self, marker: Option<MarkerModel>) -> Option<MarkerReading> {
        let drains = MarkerReading { draining: true, ..MarkerReading::default() };
        Some(match marker? {
            MarkerModel::Whole { ends_at } => MarkerReading { deadline: ends_at.map(|end| self.at(end)), ..drains },
            MarkerModel::Stale => MarkerReading { stale: true, ..MarkerReading::default() },
            MarkerModel::Garbled | MarkerModel::Directory | MarkerModel::FullDirectory => {
                MarkerReading { malformed: true, ..drains }
            }
        })
    }

    fn seen(&self, place: ScopeModel, stamp: u64, marker: Option<MarkerModel>) {
        let reading = self.reading(marker);
        self.plan(|plan| {
            let stamp = if self.mutant == Mutant::BelievesOldReadings { plan.orders() } else { stamp };
            plan.seen(scope(place), stamp, reading.as_ref(), Duration::ZERO)
        });
    }

    /// Carries out a step. `before` is the disk before it; `after` is the model's disk after it, because the disk is not under test.
    fn step(&mut self, step: GateModelStep, now: u64, before: &GateModel) -> GateModelAnswer {
        let writable =
            |place| !matches!(before.on_disk(place), Some(MarkerModel::Directory | MarkerModel::FullDirectory));
        let removable = |place| before.on_disk(place) != Some(MarkerModel::FullDirectory);
        match step {
            GateModelStep::Begin { scope: place, lasts, disk_takes } => {
                let written = disk_takes && writable(place);
                if !written && self.mutant == Mutant::NeedsTheDisk {
                    return GateModelAnswer::Done;
                }
                self.plan(|plan| {
                    plan.begin(scope(place), self.drain(lasts.map(|length| now + length)));
                    if written {
                        plan.written(&scope(place));
                    }
                });
                GateModelAnswer::Done
            }
            GateModelStep::Cancel(place) => {
                let (stopping, was_draining) = self.gate.read(|plan| (plan.is_stopping(), plan.covers(&scope(place))));
                if stopping {
                    return GateModelAnswer::Stopping;
                }
                self.plan(|plan| plan.removing(&scope(place)));
                let answer = self.remove(place, removable(place), was_draining);
                if answer == GateModelAnswer::MarkerNotRemoved && self.mutant != Mutant::IgnoresFailedRemoval {
                    self.plan(|plan| plan.not_removed(&scope(place), plan.orders()));
                }
                answer
            }
            GateModelStep::Place(..) | GateModelStep::TakeAway(_) => GateModelAnswer::Done,
            GateModelStep::Pass(length) => {
                for over in self.gate.read(|plan| plan.overdue(self.at(now + length))) {
                    let place = places().find(|place| scope(*place) == over).expect("one of these began it");
                    self.remove(place, removable(place), true);
                }
                GateModelAnswer::Done
            }
            GateModelStep::Shutdown => {
                self.plan(GatePlan::stop);
                GateModelAnswer::Done
            }
            GateModelStep::Start { profile, internal } => self.start(profile, internal),
            GateModelStep::End(which) => {
                if which < self.permits.len() {
                    self.permits.remove(which);
                }
                GateModelAnswer::Done
            }
        }
    }

    fn drain(&self, ends_at: Option<u64>) -> ActiveDrain {
        ActiveDrain {
            since: Duration::ZERO,
            requested_at: None,
            principal: None,
            suppressed: false,
            deadline: ends_at.map(|end| self.at(end)),
            requesters: BTreeSet::new(),
            durable: false,
            order: 0,
        }
    }

    fn remove(&self, place: ScopeModel, removable: bool, was_draining: bool) -> GateModelAnswer {
        if !removable {
            return GateModelAnswer::MarkerNotRemoved;
        }
        let mutant = self.mutant;
        self.plan(|plan| {
            plan.removed(&scope(place), plan.orders());
            if mutant == Mutant::RevivesInShutdown && !plan.is_draining() {
                *plan = GatePlan::default();
            }
        });
        GateModelAnswer::Cancelled { was_draining }
    }

    fn start(&mut self, profile: usize, internal: bool) -> GateModelAnswer {
        let profile = name(profile);
        let session = SessionKey::new(&Source::default(), &profile, SessionRules::default());
        let ticket = TurnTicket { id: fresh_turn_id(), profile, session };
        let lenient = self.mutant == Mutant::IgnoresOtherProfiles && !ticket.profile.is_default();
        let strict = self.mutant == Mutant::RefusesItself;
        let origin = if (internal || lenient) && !strict { Origin::Internal } else { Origin::External };
        match self.gate.admit(0, ticket, origin) {
            Ok(permit) => {
                self.permits.push(permit);
                GateModelAnswer::Admitted
            }
            Err(Refusal::Draining) => GateModelAnswer::Draining,
            Err(Refusal::Stopping) => GateModelAnswer::Stopping,
            Err(Refusal::Superseded) => panic!("no other owner of this gate exists"),
        }
    }

    fn state(&self) -> GateModelState {
        self.gate.read(|plan| GateModelState {
            stopping: plan.is_stopping(),
            gateway: plan.is_draining(),
            profiles: (0..PROFILES).filter(|profile| plan.covers(&scope(Some(*profile)))).collect(),
            turns: self.permits.len(),
        })
    }
}

/// One history; `Err` is the first difference.
fn history(seed: u64, mutant: Mutant) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut model, mut subject) = (GateModel::default(), GateSubject::new(mutant));
    let mut done = Vec::new();
    for _ in 0..STEPS {
        let step = any_step(|below| random.usize(..below));
        done.push(step);
        let agree = |what: &str, is: String, must: String| {
            if is == must { Ok(()) } else { Err(format!("seed {seed}: {what} is {is}, not {must}, after {done:#?}")) }
        };
        // Readings that begin before the step and end after it.
        let old: Vec<_> = places().map(|place| (place, model.on_disk(place))).collect();
        let stamp = subject.gate.read(GatePlan::orders);

        let answer = subject.step(step, model.now(), &model);
        let expected = model.step(step);
        agree("the answer", format!("{answer:?}"), format!("{expected:?}"))?;
        let by_message = !matches!(step, GateModelStep::Place(..) | GateModelStep::TakeAway(_));
        if by_message {
            agree("the state", format!("{:?}", subject.state()), format!("{:?}", model.state()))?;
            // A reading after a failed removal would hide a wrong state that the removal left.
            for (place, marker) in old.into_iter().filter(|_| answer != GateModelAnswer::MarkerNotRemoved) {
                subject.seen(place, stamp, marker);
            }
            agree("the state with an old reading", format!("{:?}", subject.state()), format!("{:?}", model.state()))?;
        }
        // After a cancel the next step may come before the next reading.
        for place in places().filter(|_| !matches!(step, GateModelStep::Cancel(_))) {
            subject.seen(place, subject.gate.read(GatePlan::orders), model.on_disk(place));
        }
        agree("the state", format!("{:?}", subject.state()), format!("{:?}", model.state()))?;
        if subject.gate.count() != model.state().turns {
            return Err(format!(
                "seed {seed}: {} turns are counted, not {}",
                subject.gate.count(),
                model.state().turns
            ));
        }
    }
    Ok(())
}

#[test]
fn the_gate_matches_the_model_in_ten_thousand_histories() {
    let first = fastrand::u64(..);
    println!("seeds from {first}");
    for seed in 0..HISTORIES {
        history(first.wrapping_add(seed), Mutant::None).unwrap_or_else(|parted| panic!("{parted}"));
    }
}

#[test]
fn a_mutated_gate_differs_from_the_model() {
    let mutants = [
        Mutant::BelievesOldReadings,
        Mutant::RevivesInShutdown,
        Mutant::NeedsTheDisk,
        Mutant::IgnoresOtherProfiles,
        Mutant::RefusesItself,
        Mutant::IgnoresFailedRemoval,
    ];
    for mutant in mutants {
        let caught = (0..MUTANT_HISTORIES).find(|seed| history(*seed, mutant).is_err());
        println!("{mutant:?} is caught by history {caught:?}");
        assert!(caught.is_some(), "{mutant:?} was not detected");
    }
}
