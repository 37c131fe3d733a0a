//! What a gateway costs that has nothing to do, and how fast it starts.

use std::thread;
use std::time::Duration;

use super::turns::micros;
use crate::bench::figure::{Figure, Goal, ratio};
use crate::bench::lab::{BenchGateway, HomeOptions, Lab, Place};
use crate::bench::load::LoadConnector;
use crate::bench::row::Row;

pub(super) const START: Row =
    Row { name: "start", about: "from the start of the process to `/readyz` 200", run: start };
pub(super) const IDLE: Row = Row { name: "idle", about: "memory and CPU of a gateway without work", run: idle };

/// Number of profiles, goal of the start in ms, of the memory in MiB, of the CPU in percent of a core.
const CASES: [(u32, f64, f64, f64); 2] = [(0, 20.0, 14.0, 0.05), (1_000, 300.0, 40.0, 0.5)];

fn start(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (profiles, goal, ..) in cases(lab) {
        let connector = LoadConnector::listen()?;
        let mut gateway = BenchGateway::start(lab.home(
            Place::Disk,
            HomeOptions { profiles, ..HomeOptions::default() },
            connector.address()?,
        )?)?;
        gateway.until_ready()?;
        let mut times = Vec::new();
        // The first start has made the ledger.
        for _ in 0..lab.pick(11, 3) {
            gateway = gateway.restart()?;
            times.push(micros(gateway.until_ready()?));
        }
        times.sort_unstable();
        let median = ratio(times[times.len() / 2], 1_000);
        figures.push(Figure::new("start", case(profiles), "median", median, "ms").goal(Goal::AtMost(goal)));
    }
    Ok(figures)
}

fn idle(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (profiles, _, memory, cpu) in cases(lab) {
        let (gateway, _connector) = lab.linked(Place::Disk, HomeOptions { profiles, ..HomeOptions::default() })?;
        let settle = lab.pick(Duration::from_secs(5), Duration::from_millis(200));
        // Shorter than the silence after which a link is closed: the connector answers no ping meanwhile.
        let time = lab.pick(Duration::from_secs(30), Duration::from_millis(300));
        thread::sleep(settle);
        let before = gateway.cpu()?;
        thread::sleep(time);
        let used = gateway.cpu()?.saturating_sub(before);
        let number = |name, value, unit| Figure::new("idle", case(profiles), name, value, unit);
        figures.extend([
            number("resident", ratio(gateway.resident_kib()?, 1_024), "MiB").goal(Goal::AtMost(memory)),
            number("CPU", ratio(micros(used) * 100, micros(time)), "% of a core").goal(Goal::AtMost(cpu)),
        ]);
    }
    Ok(figures)
}

fn cases(lab: &Lab) -> impl Iterator<Item = (u32, f64, f64, f64)> {
    let most = lab.pick(u32::MAX, 20);
    CASES.into_iter().map(move |(profiles, start, memory, cpu)| (profiles.min(most), start, memory, cpu))
}

fn case(profiles: u32) -> String {
    if profiles == 0 { "1 profile".to_owned() } else { format!("{profiles} profiles") }
}
