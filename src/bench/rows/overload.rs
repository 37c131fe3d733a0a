//! Three times the events that a gateway can handle: what waits, the memory that it takes, and how long acknowledgements take.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::turns::{measured, rate};
use crate::bench::figure::{Figure, ratio};
use crate::bench::lab::{BenchGateway, HomeOptions, Lab, Place};
use crate::bench::load::{Amount, Load, LoadMode, SESSIONS};
use crate::bench::row::Row;

pub(super) const OVERLOAD: Row =
    Row { name: "overload", about: "three times the events that the gateway can handle", run: overload };

/// How many times the rate that was reached.
const TIMES: u32 = 3;
/// Events of a session: half of those that it queues, so that none is refused and every event is answered.
const OF_A_SESSION: u32 = 16;
const MIB: f64 = 1024.0 * 1024.0;

/// The most that a gateway showed while a load ran.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Most {
    /// Events that wait for a turn.
    pub(super) waiting: f64,
    /// Resident memory, in bytes.
    resident: f64,
}

/// Runs `load` and queries the status of the gateway meanwhile, seldom enough to cost nothing.
pub(super) fn watched<T>(gateway: &BenchGateway, lab: &Lab, load: impl FnOnce() -> T) -> (T, Most) {
    let pause = lab.pick(Duration::from_secs(1), Duration::from_millis(100));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = Most::default();
            while !is_over.load(Ordering::Relaxed) {
                thread::sleep(pause);
                // It may be too busy to answer; the next answer counts.
                let Ok(status) = gateway.status() else { continue };
                let number = |value: &serde_json::Value| value.as_f64().unwrap_or_default();
                most.waiting = most.waiting.max(number(&status["turns"]["queued"]));
                most.resident = most.resident.max(number(&status["process"]["resident_bytes"]));
            }
            most
        });
        let outcome = load();
        is_over.store(true, Ordering::Relaxed);
        (outcome, watching.join().unwrap_or_default())
    })
}

fn overload(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let (gateway, mut connector) = lab.linked(Place::Disk, HomeOptions::default())?;
    let amount = Amount::For(lab.pick(Duration::from_secs(10), Duration::from_millis(500)));
    let reached = Load { mode: LoadMode::InFlight(512), amount, sessions: SESSIONS, profiles: 0 };
    let reached = rate(&measured(&gateway, &mut connector, reached)?.0);
    let time = lab.pick(Duration::from_mins(1), Duration::from_secs(1));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate of events")]
    let offered = reached as u32 * TIMES;
    let seconds = u32::try_from(time.as_secs())?;
    let load = Load {
        mode: LoadMode::PerSecond(offered),
        amount: Amount::For(time),
        sessions: (offered.saturating_mul(seconds) / OF_A_SESSION).max(SESSIONS),
        profiles: 0,
    };
    let (run, most) = watched(&gateway, lab, || measured(&gateway, &mut connector, load));
    let (outcome, _) = run?;
    let number = |name, value, unit| Figure::new("overload", format!("{TIMES} times the rate"), name, value, unit);
    Ok(vec![
        number("rate before", reached, "turns/s"),
        number("rate offered", f64::from(offered), "events/s"),
        number("rate answered", rate(&outcome), "turns/s"),
        number("acknowledged p50", outcome.acknowledged.percentile_ms(50.0), "ms"),
        number("acknowledged p99", outcome.acknowledged.percentile_ms(99.0), "ms"),
        number("most events waiting", most.waiting, ""),
        number("most memory", most.resident / MIB, "MiB"),
        number("notices", ratio(outcome.notices, 1), ""),
    ])
}
