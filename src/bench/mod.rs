//! What this build costs on this machine: `caduceus bench`.
//!
//! Gateways and baselines are processes of this program; the load runs in the process of the command. Figures are CPU time of the
//! gateway for each unit of work, and ratios to a baseline of the same run, because times vary on shared machines.

mod baseline;
mod figure;
mod http;
mod lab;
mod load;
mod process;
mod row;
mod rows;
mod table;

use std::path::Path;
use std::thread;

use caduceus_actors::error_chain::error_chain;
use caduceus_actors::files::small;
use jiff::Timestamp;

pub(crate) use baseline::{client, handler};
pub(crate) use figure::Report;
use figure::{FailedRow, Machine};
pub(crate) use lab::Lab;
pub(crate) use row::Row;
pub(crate) use rows::ROWS;
pub(crate) use table::{list, markdown, terminal};

/// Runs the rows of these names, or all; `progress` is called with the name of each before it runs.
pub(crate) fn run(lab: &Lab, rows: &[&'static Row], progress: impl Fn(&str)) -> Report {
    let mut report = Report {
        commit: commit(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        begun: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        short: lab.short,
        machine: machine(),
        figures: Vec::new(),
        failed: Vec::new(),
    };
    for row in rows {
        progress(row.name);
        match (row.run)(lab) {
            Ok(figures) => report.figures.extend(figures),
            Err(error) => {
                let error = error_chain(error.as_ref());
                report.failed.push(FailedRow { row: row.name.to_owned(), error });
            }
        }
    }
    report
}

/// The commit of the repository in the working directory.
fn commit() -> Option<String> {
    let answer = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output().ok()?;
    let commit = String::from_utf8(answer.stdout).ok()?.trim().to_owned();
    (answer.status.success() && !commit.is_empty()).then_some(commit)
}

fn machine() -> Machine {
    let line = |path: &str, name: &str| {
        let text = small::read_kernel_file(Path::new(path))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_start_matches([' ', '\t', ':']).trim().to_owned())
    };
    Machine {
        processor: line("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
        cores: thread::available_parallelism().map_or(1, std::num::NonZero::get),
        kernel: line("/proc/sys/kernel/osrelease", "").unwrap_or_else(|| "unknown".to_owned()),
    }
}
