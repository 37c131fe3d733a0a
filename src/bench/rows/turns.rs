//! The cost of a durable turn: an event recorded, acknowledged, run by the agent `echo`, and its reply delivered.

use std::time::Duration;

use crate::bench::figure::{Figure, Goal, ratio};
use crate::bench::lab::{BenchGateway, HomeOptions, Lab, Place};
use crate::bench::load::{Amount, Load, LoadConnector, LoadMode, Outcome, SESSIONS};
use crate::bench::row::Row;

pub(super) const DISK: Row = Row { name: "turn", about: "durable turns, the ledger on the disk", run: disk };
pub(super) const MEMORY: Row = Row { name: "turn-memory", about: "the same, the ledger in memory", run: memory };

/// Events without a reply at any time.
const IN_FLIGHT: [u32; 3] = [1, 64, 512];

fn disk(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    turns(lab, "turn", Place::Disk)
}

fn memory(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    turns(lab, "turn-memory", Place::Memory)
}

fn turns(lab: &Lab, row: &str, place: Place) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let time = lab.pick(Duration::from_secs(15), Duration::from_millis(500));
    for in_flight in IN_FLIGHT {
        let (gateway, mut connector) = lab.linked(place, HomeOptions::default())?;
        let load =
            Load { mode: LoadMode::InFlight(in_flight), amount: Amount::For(time), sessions: SESSIONS, profiles: 0 };
        let warm = Load { amount: Amount::Events(lab.pick(2_000, 100)), ..load };
        connector.run(warm)?;
        let (outcome, cpu) = measured(&gateway, &mut connector, load)?;
        let case = format!("{in_flight} in flight");
        let number = |name, value, unit| Figure::new(row, case.clone(), name, value, unit);
        let per_turn = number("gateway CPU a turn", micros_each(cpu, outcome.events), "µs");
        let rate = number("rate", rate(&outcome), "turns/s");
        let (p50, p99) = (outcome.answered.percentile_ms(50.0), outcome.answered.percentile_ms(99.0));
        let p99 = number("round trip p99", p99, "ms");
        let memory = place == Place::Memory;
        figures.extend([
            if in_flight == 1 { per_turn } else { per_turn.goal(Goal::AtMost(40.0)) },
            match in_flight {
                512 => rate.goal(Goal::AtLeast(if memory { 35_000.0 } else { 30_000.0 })),
                1 if memory => rate.goal(Goal::AtLeast(2_000.0)),
                _ => rate,
            },
            number("round trip p50", p50, "ms"),
            if in_flight == 64 && !memory { p99.goal(Goal::AtMost(5.0)) } else { p99 },
            number("share of one core, gateway", ratio(micros(cpu), micros(outcome.elapsed)), ""),
            number("share of one core, load", ratio(micros(outcome.load_cpu), micros(outcome.elapsed)), ""),
        ]);
    }
    Ok(figures)
}

/// Runs a load; returns its outcome and the CPU time that the gateway used meanwhile.
pub(super) fn measured(
    gateway: &BenchGateway,
    connector: &mut LoadConnector,
    load: Load,
) -> anyhow::Result<(Outcome, Duration)> {
    let before = gateway.cpu()?;
    let outcome = connector.run(load)?;
    Ok((outcome, gateway.cpu()?.saturating_sub(before)))
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Microseconds for each of `count`.
pub(super) fn micros_each(time: Duration, count: u64) -> f64 {
    ratio(micros(time), count)
}

/// Events a second.
pub(super) fn rate(outcome: &Outcome) -> f64 {
    ratio(outcome.events * 1_000_000, micros(outcome.elapsed))
}
