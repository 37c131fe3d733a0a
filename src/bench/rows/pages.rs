//! The pages that are asked for most, beside a bare handler that answers the same bytes.

use std::time::Duration;

use super::turns::{micros, micros_each};
use crate::bench::figure::{Figure, Goal, ratio};
use crate::bench::lab::{HomeOptions, Lab, Place};
use crate::bench::row::Row;
use crate::bench::{baseline, http, process};

pub(super) const STATUS: Row = Row { name: "status", about: "`/api/status` beside a bare handler", run: status };
pub(super) const METRICS: Row = Row { name: "metrics", about: "`/metrics` beside a bare handler", run: metrics };

const CONNECTIONS: usize = 64;
/// Rounds, each of the gateway and of the handler: other load on the machine then meets both.
const ROUNDS: u32 = 4;

fn status(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    page(lab, "status", "/api/status", 0.95)
}

fn metrics(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    page(lab, "metrics", "/metrics", 0.5)
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
