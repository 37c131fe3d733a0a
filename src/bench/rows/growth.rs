//! How the cost of an event grows with what else there is: sessions, profiles, waiting events.

use super::turns::{measured, micros_each};
use crate::bench::figure::{Figure, Goal};
use crate::bench::lab::{HomeOptions, Lab, Place};
use crate::bench::load::{Amount, Load, LoadMode};
use crate::bench::row::Row;
use crate::bench::rows::backlog;

pub(super) const SESSIONS: Row =
    Row { name: "growth-sessions", about: "an event by number of sessions", run: sessions };
pub(super) const PROFILES: Row =
    Row { name: "growth-profiles", about: "an event by number of profiles", run: profiles };
pub(super) const WAITING: Row =
    Row { name: "growth-waiting", about: "an event by number of events that wait for another profile", run: waiting };

/// In flight in all these rows: one session can queue them.
const IN_FLIGHT: u32 = 16;
/// What an event may cost, compared with the cheapest case of its row.
const FLAT: f64 = 1.2;

fn sessions(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let events = lab.pick(100_000, 500);
    let mut costs = Vec::new();
    for sessions in [1, 100, 10_000, 100_000] {
        let (gateway, mut connector) = lab.linked(Place::Disk, HomeOptions::default())?;
        let load = Load { mode: LoadMode::InFlight(IN_FLIGHT), amount: Amount::Events(events), sessions, profiles: 0 };
        let (outcome, cpu) = measured(&gateway, &mut connector, load)?;
        costs.push((format!("{sessions} sessions"), micros_each(cpu, outcome.events)));
    }
    Ok(curve("growth-sessions", costs))
}

fn profiles(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let events = lab.pick(20_000, 500);
    let mut costs = Vec::new();
    for profiles in lab.pick(vec![1, 100, 1_000], vec![1, 10]) {
        let (gateway, mut connector) = lab.linked(Place::Disk, HomeOptions { profiles, ..HomeOptions::default() })?;
        let load =
            Load { mode: LoadMode::InFlight(IN_FLIGHT), amount: Amount::Events(events), sessions: 2_000, profiles };
        connector.run(Load { amount: Amount::Events(events / 10), ..load })?;
        let (outcome, cpu) = measured(&gateway, &mut connector, load)?;
        costs.push((format!("{profiles} profiles"), micros_each(cpu, outcome.events)));
    }
    Ok(curve("growth-profiles", costs))
}

fn waiting(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let events = lab.pick(20_000, 500);
    let mut costs = Vec::new();
    for waiting in lab.pick(vec![0, 10_000, 100_000], vec![0, 300]) {
        let (gateway, mut connector) =
            lab.linked(Place::Disk, HomeOptions { profiles: 1, ..HomeOptions::default() })?;
        backlog::hold(&gateway, &mut connector, waiting, Some("p0"))?;
        let load =
            Load { mode: LoadMode::InFlight(IN_FLIGHT), amount: Amount::Events(events), sessions: 1_000, profiles: 0 };
        let (outcome, cpu) = measured(&gateway, &mut connector, load)?;
        costs.push((format!("{waiting} waiting"), micros_each(cpu, outcome.events)));
    }
    Ok(curve("growth-waiting", costs))
}

/// The cost of each case, and how much more than the cheapest it is.
pub(super) fn curve(row: &str, costs: Vec<(String, f64)>) -> Vec<Figure> {
    let cheapest = costs.iter().map(|(_, cost)| *cost).fold(f64::INFINITY, f64::min);
    let figures = costs.into_iter().flat_map(|(case, cost)| {
        let growth = Figure::new(row, case.clone(), "of the cheapest", cost / cheapest, "×").goal(Goal::AtMost(FLAT));
        [Figure::new(row, case, "gateway CPU an event", cost, "µs"), growth]
    });
    figures.collect()
}
