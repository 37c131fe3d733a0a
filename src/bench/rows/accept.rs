//! From an event to its acknowledgement, at a steady rate whatever comes back.

use std::time::Duration;

use super::overload::watched;
use super::turns::{measured, micros, micros_each};
use crate::bench::figure::{Figure, Goal, ratio};
use crate::bench::lab::{HomeOptions, Lab, Place};
use crate::bench::load::{Amount, Load, LoadMode};
use crate::bench::row::Row;

pub(super) const ACCEPT: Row =
    Row { name: "accept", about: "acknowledgements at a steady rate of events", run: accept };

fn accept(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for rate in lab.pick(vec![500, 1_500, 5_000, 10_000], vec![200]) {
        let (gateway, mut connector) = lab.linked(Place::Disk, HomeOptions::default())?;
        let time = if rate == 10_000 {
            Duration::from_mins(1)
        } else {
            lab.pick(Duration::from_secs(15), Duration::from_secs(1))
        };
        let load = Load { mode: LoadMode::PerSecond(rate), amount: Amount::For(time), sessions: 10_000, profiles: 0 };
        let case = format!("{rate} events/s");
        let number = |name, value, unit| Figure::new("accept", case.clone(), name, value, unit);
        let (run, most) = watched(&gateway, lab, || measured(&gateway, &mut connector, load));
        let (outcome, cpu) = match run {
            Ok(measured) => measured,
            // More than this machine can do.
            Err(error) => {
                tracing::warn!(rate, %error, "rate not reached");
                continue;
            }
        };
        let p99 = number("acknowledged p99", outcome.acknowledged.percentile_ms(99.0), "ms");
        figures.extend([
            number("acknowledged p50", outcome.acknowledged.percentile_ms(50.0), "ms"),
            if rate == 10_000 { p99.goal(Goal::AtMost(5.0)) } else { p99 },
            number("most events waiting", most.waiting, ""),
            number("answered p99", outcome.answered.percentile_ms(99.0), "ms"),
            number("gateway CPU an event", micros_each(cpu, outcome.events), "µs"),
            number("share of one core, gateway", ratio(micros(cpu), micros(outcome.elapsed)), ""),
        ]);
    }
    Ok(figures)
}
