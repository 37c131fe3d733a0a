//! The size of the program.

use crate::bench::figure::{Figure, Goal, ratio};
use crate::bench::lab::Lab;
use crate::bench::row::Row;

pub(super) const SIZE: Row = Row { name: "size", about: "size of the program's file", run: size };

fn size(_: &Lab) -> anyhow::Result<Vec<Figure>> {
    let bytes = std::fs::metadata("/proc/self/exe")?.len();
    Ok(vec![Figure::new("size", "", "program", ratio(bytes, 1_024 * 1_024), "MiB").goal(Goal::AtMost(14.0))])
}
