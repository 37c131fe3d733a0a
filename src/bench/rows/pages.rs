//! The pages that are asked for most, beside a bare handler that answers the same bytes.

use std::thread;
use std::time::{Duration, Instant};

use super::turns::{micros, micros_each};
use crate::bench::figure::{Figure, Goal, ratio};
use crate::bench::lab::{HomeOptions, Lab, Place};
use crate::bench::row::Row;
use crate::bench::{baseline, http, process};

pub(super) const STATUS: Row = Row { name: "status", about: "`/api/status` beside a bare handler", run: status };
pub(super) const METRICS: Row = Row { name: "metrics", about: "`/metrics` beside a bare handler", run: metrics };

pub(super) const SNAPSHOT: Row =
    Row { name: "snapshot", about: "a snapshot of the status, by number of profiles", run: snapshots };

const CONNECTIONS: usize = 64;
/// Rounds, each of the gateway and of the handler: other load on the machine then meets both.
const ROUNDS: u32 = 4;

fn status(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    page(lab, "status", "/api/status", 0.95)
}

fn metrics(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    page(lab, "metrics", "/metrics", 0.5)
}

/// A status of this age is made anew for a request; with some time to spare.
const SNAPSHOT_AGE: Duration = Duration::from_millis(1_100);

fn snapshots(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for profiles in lab.pick([0, 1_000], [0, 20]) {
        let (gateway, _connector) = lab.linked(Place::Disk, HomeOptions { profiles, ..HomeOptions::default() })?;
        thread::sleep(lab.pick(Duration::from_secs(5), Duration::from_millis(200)));
        let (times, mut used) = (lab.pick(20, 1), [Duration::ZERO; 2]);
        // In turns, because an idle gateway takes time as well.
        for number in 0..2 * times {
            let (began, before) = (Instant::now(), gateway.cpu_of_threads()?);
            // Its answer is short, whatever the number of profiles.
            if number % 2 == 1 {
                gateway.get("/readyz")?;
            }
            thread::sleep(SNAPSHOT_AGE.saturating_sub(began.elapsed()));
            used[number % 2] += gateway.cpu_of_threads()?.saturating_sub(before);
        }
        let cost = micros(used[1].saturating_sub(used[0]));
        let cost = ratio(cost, 1_000 * times as u64);
        let case = if profiles == 0 { "1 profile".to_owned() } else { format!("{profiles} profiles") };
        let figure = Figure::new("snapshot", case, "gateway CPU, with its request", cost, "ms");
        figures.push(if profiles == 0 { figure } else { figure.goal(Goal::AtMost(1.0)) });
    }
    Ok(figures)
}

fn page(lab: &Lab, row: &str, path: &str, goal: f64) -> anyhow::Result<Vec<Figure>> {
    let (gateway, _connector) = lab.linked(Place::Disk, HomeOptions::default())?;
    let (bare, address) = baseline::start_handler(&gateway.get(path)?)?;
    let time = lab.pick(Duration::from_secs(10), Duration::from_millis(400)) / ROUNDS;
    let (mut ours, mut theirs) = (PageCost::default(), PageCost::default());
    for _ in 0..ROUNDS {
        ours.add(&http::load(gateway.address, path, CONNECTIONS, time)?);
        theirs.add(&http::load(address, path, CONNECTIONS, time)?);
    }
    let handler_cpu = process::cpu(bare.process)?;
    let number = |name, value, unit| Figure::new(row, format!("{CONNECTIONS} connections"), name, value, unit);
    Ok(vec![
        number("rate", ours.rate(), "requests/s"),
        number("rate of the bare handler", theirs.rate(), "requests/s"),
        number("of the bare handler", ours.rate() / theirs.rate(), "×").goal(Goal::AtLeast(goal)),
        number("handler CPU a request", micros_each(handler_cpu, theirs.requests), "µs"),
    ])
}

#[derive(Default)]
struct PageCost {
    requests: u64,
    elapsed: Duration,
}

impl PageCost {
    fn add(&mut self, outcome: &http::HttpOutcome) {
        self.requests += outcome.requests;
        self.elapsed += outcome.elapsed;
    }

    fn rate(&self) -> f64 {
        ratio(self.requests * 1_000_000, micros(self.elapsed))
    }
}
