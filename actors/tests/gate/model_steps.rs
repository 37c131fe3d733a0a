//! Random histories against the model, with the real actor, its mailbox and a real directory.
//!
//! Shorter than the histories of the plan alone: changes on disk and the end of a drain have to be waited for. The disk takes every
//! marker here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use actix::clock::sleep;
use caduceus_actors::drain::epoch;
use caduceus_actors::drain::permit::TurnPermit;
use caduceus_actors::turn::id::fresh_turn_id;
use caduceus_contract::files::marker;
use caduceus_contract::messages::drain::{
    BeginDrain, BeginShutdown, CancelDrain, CancelError, DrainView, GetDrain, Origin, Refusal, TurnTicket,
};
use caduceus_contract::profile_name::ProfileName;
use jiff::Timestamp;

use crate::model::{
    GateModel, GateModelAnswer, GateModelState, GateModelStep, MarkerModel, PROFILES, ScopeModel, any_step,
};
use crate::tree::{TIMEOUT, TestGatePorts, Tree, ticket};

const HISTORIES: usize = 25;
const STEPS: usize = 30;
/// The real gate checks deadlines once a second, so few deadlines pass.
const MOST_DEADLINES: usize = 3;
/// Pause between two queries.
const PAUSE: Duration = Duration::from_millis(1);
/// The gate must have seen a change on disk within this time: the poll interval, on a loaded machine.
const SOON: Duration = Duration::from_secs(20);

const NAMES: [&str; PROFILES + 1] = ["work", "play", "default"];

struct GateUnderTest {
    tree: Tree,
    ports: TestGatePorts,
    permits: Vec<TurnPermit>,
}

fn name(profile: usize) -> ProfileName {
    ProfileName::parse(NAMES[profile]).expect("a name")
}

impl GateUnderTest {
    async fn new() -> Self {
        let tree = Tree::start_with(&[NAMES[0], NAMES[1]], true).await;
        Self { ports: tree.ports(), tree, permits: Vec::new() }
    }

    fn marker(&self, scope: ScopeModel) -> PathBuf {
        self.tree.marker(scope.map(|profile| NAMES[profile]))
    }

    async fn step(&mut self, step: GateModelStep) -> GateModelAnswer {
        match step {
            GateModelStep::Begin { scope, lasts, .. } => {
                let order = BeginDrain {
                    principal: "model".to_owned(),
                    profile: scope.map(name),
                    // The model has its own time unit; here a deadline has passed by the next check.
                    deadline: lasts.map(|_| Duration::from_millis(1)),
                    ..BeginDrain::default()
                };
                let begun = self.ports.begin.ask(order, TIMEOUT).await.expect("the gate answers");
                if !begun.durable {
                    // An obstacle in the marker's place counts as soon as it was read.
                    self.tree.all_read().await;
                }
                GateModelAnswer::Done
            }
            GateModelStep::Cancel(scope) => {
                let order = CancelDrain { principal: "model".to_owned(), profile: scope.map(name) };
                match self.ports.cancel.ask(order, TIMEOUT).await.expect("the gate answers") {
                    Ok(cancelled) => GateModelAnswer::Cancelled { was_draining: cancelled.was_draining },
                    Err(CancelError::MarkerNotRemoved(_)) => GateModelAnswer::MarkerNotRemoved,
                    Err(CancelError::Stopping) => GateModelAnswer::Stopping,
                }
            }
            GateModelStep::Place(scope, marker) => {
                place(&self.marker(scope), Some(marker)).expect("the marker is placed");
                self.tree.all_read().await;
                GateModelAnswer::Done
            }
            GateModelStep::TakeAway(scope) => {
                place(&self.marker(scope), None).expect("the place is cleared");
                self.tree.all_read().await;
                GateModelAnswer::Done
            }
            GateModelStep::Pass(_) => GateModelAnswer::Done,
            GateModelStep::Shutdown => {
                self.ports.shutdown.ask(BeginShutdown, TIMEOUT).await.expect("the gate answers");
                GateModelAnswer::Done
            }
            GateModelStep::Start { profile, internal } => {
                let ticket = TurnTicket { id: fresh_turn_id(), profile: name(profile), ..ticket() };
                let origin = if internal { Origin::Internal } else { Origin::External };
                match self.ports.request(ticket, origin).await {
                    Ok(permit) => {
                        self.permits.push(permit);
                        GateModelAnswer::Admitted
                    }
                    Err(Refusal::Draining) => GateModelAnswer::Draining,
                    Err(Refusal::Stopping) => GateModelAnswer::Stopping,
                    Err(Refusal::Superseded) => panic!("there is one gate"),
                }
            }
            GateModelStep::End(which) => {
                if which < self.permits.len() {
                    self.permits.remove(which);
                }
                GateModelAnswer::Done
            }
        }
    }

    async fn view(&self) -> DrainView {
        self.ports.view.ask(GetDrain, TIMEOUT).await.expect("the gate answers")
    }

    async fn state(&self) -> (GateModelState, usize) {
        let view = self.view().await;
        let DrainView { draining, stopping, requested_at, age_ms, profiles, active_agents, .. } = view;
        assert!(draining || requested_at.is_none(), "no drain is on, but one was requested");
        let drained = |profile: &usize| profiles.contains(&name(*profile));
        let state = GateModelState {
            stopping,
            gateway: age_ms.is_some(),
            profiles: (0..PROFILES).filter(drained).collect(),
            turns: active_agents,
        };
        (state, self.permits.len())
    }
}

/// Renames a marker into place, or removes what is there.
fn place(path: &Path, marker: Option<MarkerModel>) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path)?,
        Ok(_) if marker.is_none() => fs::remove_file(path)?,
        Ok(_) | Err(_) => {}
    }
    let other = path.with_extension("new");
    match marker {
        None => return Ok(()),
        Some(MarkerModel::Directory | MarkerModel::FullDirectory) => {
            if path.exists() {
                fs::remove_file(path)?;
            }
            fs::create_dir(&other)?;
            if marker == Some(MarkerModel::FullDirectory) {
                fs::write(other.join("kept"), "")?;
            }
        }
        Some(MarkerModel::Whole { .. }) => {
            let whole = marker::Marker {
                requested_at: Timestamp::now(),
                principal: "another process".to_owned(),
                epoch: epoch::current(),
                suppress_notification: false,
                deadline: None,
            };
            fs::write(&other, whole.to_json())?;
        }
        Some(MarkerModel::Stale) => fs::write(&other, r#"{"epoch":"previous boot:1"}"#)?,
        Some(MarkerModel::Garbled) => fs::write(&other, "\u{feff}{\"epoch\":\"previous boot:1\"")?,
    }
    fs::rename(other, path)
}

/// One history of the real gate.
async fn history(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut model, mut subject) = (GateModel::default(), GateUnderTest::new().await);
    let (mut steps, mut deadlines) = (Vec::new(), 0);
    for _ in 0..STEPS {
        // A drain that ends by its deadline ends at the next check, so time passes in the model as well.
        let step = match any_step(|below| random.usize(..below)) {
            GateModelStep::Pass(_) => continue,
            GateModelStep::Begin { scope, lasts, .. } => {
                deadlines += usize::from(lasts.is_some());
                let lasts = lasts.filter(|_| deadlines <= MOST_DEADLINES);
                GateModelStep::Begin { scope, lasts, disk_takes: true }
            }
            // The test cannot observe whether the marker was read before its deadline passed.
            GateModelStep::Place(scope, MarkerModel::Whole { .. }) => {
                GateModelStep::Place(scope, MarkerModel::Whole { ends_at: None })
            }
            step => step,
        };
        continue_with(&mut subject, &mut model, step, &mut steps, seed).await;
        if let GateModelStep::Begin { lasts: Some(length), .. } = step {
            continue_with(&mut subject, &mut model, GateModelStep::Pass(length), &mut steps, seed).await;
        }
    }
    subject.permits.clear();
    subject.tree.stop().await;
}

async fn continue_with(
    subject: &mut GateUnderTest,
    model: &mut GateModel,
    step: GateModelStep,
    steps: &mut Vec<GateModelStep>,
    seed: u64,
) {
    steps.push(step);
    let (answer, expected) = (subject.step(step).await, model.step(step));
    assert_eq!(answer, expected, "seed {seed}, after {steps:#?}");
    if matches!(step, GateModelStep::Begin { lasts: Some(_), .. }) {
        // The drain may have ended by now.
        return;
    }
    // The end of a drain has to be waited for; everything else holds with the answer.
    let passes = matches!(step, GateModelStep::Pass(_));
    let deadline = Instant::now() + SOON;
    loop {
        let (state, held) = subject.state().await;
        if state == model.state() && held == state.turns {
            return;
        }
        assert!(
            passes && Instant::now() < deadline,
            "seed {seed}: {state:?} and {held} permits, not {:?}, after {steps:#?}",
            model.state()
        );
        sleep(PAUSE).await;
    }
}

#[actix::test]
async fn the_real_gate_and_its_directory_behave_like_the_model() {
    let first = fastrand::u64(..);
    eprintln!("seeds from {first}");
    for seed in 0..HISTORIES as u64 {
        history(first.wrapping_add(seed)).await;
    }
}
