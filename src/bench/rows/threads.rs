//! How the cost of a turn depends on the number of data threads.

use std::time::Duration;

use super::growth::curve;
use super::turns::{measured, micros_each, rate};
use crate::bench::figure::Figure;
use crate::bench::lab::{HomeOptions, Lab, Place};
use crate::bench::load::{Amount, Load, LoadMode, SESSIONS};
use crate::bench::row::Row;

pub(super) const THREADS: Row =
    Row { name: "threads", about: "a durable turn by number of data threads", run: threads };

const THREAD_COUNTS: [u32; 3] = [1, 2, 4];
/// Events without a reply at any time.
const IN_FLIGHT: u32 = 512;

fn threads(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let time = lab.pick(Duration::from_secs(15), Duration::from_millis(500));
    let (mut costs, mut rates) = (Vec::new(), Vec::new());
    for threads in THREAD_COUNTS {
        let options = HomeOptions { threads: Some(threads), ..HomeOptions::default() };
        let (gateway, mut connector) = lab.linked(Place::Disk, options)?;
        let load =
            Load { mode: LoadMode::InFlight(IN_FLIGHT), amount: Amount::For(time), sessions: SESSIONS, profiles: 0 };
        connector.run(Load { amount: Amount::Events(lab.pick(2_000, 100)), ..load })?;
        let (outcome, cpu) = measured(&gateway, &mut connector, load)?;
        let case = format!("{threads} data threads, {IN_FLIGHT} in flight");
        rates.push(Figure::new("threads", case.clone(), "rate", rate(&outcome), "turns/s"));
        costs.push((case, micros_each(cpu, outcome.events)));
    }
    Ok(curve("threads", costs).into_iter().chain(rates).collect())
}
