//! Turns over an hour: what grows would end a gateway that runs for months.

use std::thread;
use std::time::{Duration, Instant};

use super::turns::micros;
use crate::bench::figure::{Figure, Goal, ratio};
use crate::bench::lab::{HomeOptions, Lab, Place};
use crate::bench::load::{Amount, Load, LoadMode};
use crate::bench::row::Row;

pub(super) const SOAK: Row =
    Row { name: "soak", about: "memory and descriptors over an hour of turns, 200 at once", run: soak };

const PROFILES: u32 = 50;
const AT_ONCE: u32 = 200;
/// Rounds before the first sample: buffers, threads and the history of every session have reached their sizes.
const WARM_UP: u32 = 10;
const HOUR: Duration = Duration::from_hours(1);

fn soak(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let (gateway, mut connector) =
        lab.linked(Place::Disk, HomeOptions { profiles: PROFILES, ..HomeOptions::default() })?;
    let (time, pause) = lab.pick((HOUR, Duration::from_secs(10)), (Duration::from_millis(500), Duration::ZERO));
    let round = Load {
        mode: LoadMode::InFlight(AT_ONCE),
        amount: Amount::Events(u64::from(AT_ONCE)),
        sessions: AT_ONCE,
        profiles: PROFILES,
    };
    for _ in 0..WARM_UP {
        connector.run(round)?;
    }
    let (began, mut samples, mut turns) = (Instant::now(), Vec::new(), 0);
    let before = gateway.descriptors()?;
    while began.elapsed() < time {
        turns += connector.run(round)?.events;
        thread::sleep(pause);
        samples.push((ratio(micros(began.elapsed()), micros(HOUR)), ratio(gateway.resident_kib()?, 1_024)));
    }
    let more = gateway.descriptors()?.saturating_sub(before);
    let number = |name, value, unit| Figure::new("soak", format!("{AT_ONCE} at once"), name, value, unit);
    // Over half a second it means nothing.
    let slope = number("growth of the memory", slope(&samples).max(0.0), "MiB/h");
    Ok(vec![
        if lab.short { slope } else { slope.goal(Goal::AtMost(1.0)) },
        number("more descriptors", ratio(more, 1), "").goal(Goal::AtMost(0.0)),
        number("turns", ratio(turns, 1), ""),
    ])
}

/// The slope of the line through these points, by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.iter().map(|_| 1.0).sum::<f64>();
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|point| point.0), mean(|point| point.1));
    let products = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum::<f64>();
    let squares = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum::<f64>();
    if squares > 0.0 { products / squares } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_that_of_the_line_and_0_without_two_points() {
        assert!((slope(&[(0.0, 1.0), (0.5, 2.0), (1.0, 3.0)]) - 2.0).abs() < 1e-9);
        assert!(slope(&[(1.0, 5.0)]).abs() < 1e-9 && slope(&[]).abs() < 1e-9);
    }
}
