//! Many events that wait: released at the end of a drain, and found in the ledger at the start.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use caduceus_actors::files::own;

use super::turns::{micros, micros_each};
use crate::bench::figure::{Figure, Goal, ratio};
use crate::bench::lab::{BenchGateway, HomeOptions, Lab, Place};
use crate::bench::load::{Amount, Load, LoadConnector, LoadMode};
use crate::bench::row::Row;

pub(super) const BACKLOG: Row =
    Row { name: "backlog", about: "held events, released and found at the start", run: backlog };

/// Events that are sent ahead of their acknowledgements.
const AHEAD: u32 = 512;
/// Chats of the waiting events.
const CHATS: u32 = 5_000;
/// A drain and its end are seen within this time.
const SEEN: Duration = Duration::from_mins(1);

fn backlog(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let events = lab.pick(100_000, 300);
    let mut figures = Vec::new();
    for found in [false, true] {
        let (mut gateway, mut connector) = lab.linked(Place::Disk, HomeOptions::default())?;
        let idle_kib = gateway.resident_kib()?;
        hold(&gateway, &mut connector, events, None)?;
        let waiting_kib = gateway.resident_kib()?;
        let before = if found {
            gateway.kill()?;
            fs::remove_file(marker(&gateway, None))?;
            gateway = gateway.restart()?;
            connector.accept()?;
            Duration::ZERO
        } else {
            let before = gateway.cpu()?;
            fs::remove_file(marker(&gateway, None))?;
            before
        };
        let began = Instant::now();
        connector.collect(events)?;
        let (elapsed, cpu) = (began.elapsed(), gateway.cpu()?.saturating_sub(before));
        let unresponsive = gateway.status()?["actors"].to_string().contains("unresponsive");
        let case = if found { "found at the start" } else { "released" };
        let number = |name, value, unit| Figure::new("backlog", case, name, value, unit);
        figures.extend([
            number("gateway CPU an event", micros_each(cpu, events), "µs"),
            number("rate", ratio(events * 1_000_000, micros(elapsed)), "events/s"),
            number("resident while they wait", ratio(waiting_kib, 1_024), "MiB"),
            // What the work of receiving them left behind counts as well.
            number("memory of an event that waits", ratio(waiting_kib.saturating_sub(idle_kib), events), "KiB")
                .goal(Goal::AtMost(1.0)),
            number("threads unresponsive", f64::from(u8::from(unresponsive)), "").goal(Goal::AtMost(0.0)),
        ]);
    }
    Ok(figures)
}

/// Begins a drain of everything or of one profile, and sends `events` events that it holds.
pub(super) fn hold(
    gateway: &BenchGateway,
    connector: &mut LoadConnector,
    events: u64,
    profile: Option<&str>,
) -> anyhow::Result<()> {
    if events == 0 {
        return Ok(());
    }
    own::create_new(&marker(gateway, profile), own::OpenMode::ReadWrite, 0o600).map_err(io::Error::from)?.flush()?;
    gateway.until(SEEN, |status| {
        let drain = &status["drain"];
        match profile {
            None => drain["draining"] == true,
            Some(profile) => {
                drain["profiles"].as_array().is_some_and(|drained| drained.iter().any(|one| one == profile))
            }
        }
    })?;
    let profiles = u32::from(profile.is_some());
    let load = Load { mode: LoadMode::Unanswered(AHEAD), amount: Amount::Events(events), sessions: CHATS, profiles };
    connector.run(load)?;
    Ok(())
}

fn marker(gateway: &BenchGateway, profile: Option<&str>) -> PathBuf {
    let home = gateway.home();
    let home = profile.map_or_else(|| home.to_owned(), |profile| home.join("profiles").join(profile));
    caduceus_actors::drain::store::path(&home)
}
