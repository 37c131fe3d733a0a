//! What the parts cost without the gateway: the limits of this machine.

use std::time::Duration;

use super::turns::{micros, micros_each, rate};
use crate::bench::baseline;
use crate::bench::figure::{Figure, ratio};
use crate::bench::lab::Lab;
use crate::bench::load::{Amount, Load, LoadConnector, LoadMode, SESSIONS};
use crate::bench::process;
use crate::bench::row::Row;

pub(super) const COMMIT: Row =
    Row { name: "commit", about: "grouped commits of SQLite, five operations an event", run: commit };
pub(super) const CLIENT: Row =
    Row { name: "client", about: "a bare client that acknowledges and answers, without a ledger", run: client };

fn commit(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let time = lab.pick(Duration::from_secs(3), Duration::from_millis(100));
    let mut figures = Vec::new();
    for group in [1, 8, 64, 512] {
        let commits = baseline::commits(lab, group, time)?;
        let case = format!("groups of {group}");
        let number = |name, value, unit| Figure::new("commit", case.clone(), name, value, unit);
        figures.extend([
            number("commit", micros_each(commits.elapsed, commits.groups), "µs"),
            number("CPU an event", micros_each(commits.cpu, commits.events), "µs"),
            number("rate", ratio(commits.events * 1_000_000, micros(commits.elapsed)), "events/s"),
        ]);
    }
    Ok(figures)
}

fn client(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let time = lab.pick(Duration::from_secs(5), Duration::from_millis(300));
    let mut connector = LoadConnector::listen()?;
    let client = baseline::start_client(connector.address()?)?;
    let mut figures = Vec::new();
    for in_flight in [1, 64, 512] {
        let load =
            Load { mode: LoadMode::InFlight(in_flight), amount: Amount::For(time), sessions: SESSIONS, profiles: 0 };
        let before = process::cpu(client.process)?;
        let outcome = connector.run(load)?;
        let cpu = process::cpu(client.process)?.saturating_sub(before);
        let case = format!("{in_flight} in flight");
        let number = |name, value, unit| Figure::new("client", case.clone(), name, value, unit);
        figures.extend([
            number("client CPU a round trip", micros_each(cpu, outcome.events), "µs"),
            number("rate", rate(&outcome), "round trips/s"),
            number("round trip p50", outcome.answered.percentile_ms(50.0), "ms"),
            number("round trip p99", outcome.answered.percentile_ms(99.0), "ms"),
        ]);
    }
    Ok(figures)
}
