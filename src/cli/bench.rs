//! `caduceus bench`: measures this build on this machine.

use std::io;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use caduceus_actors::files::{own, small};

use crate::bench::{self, Lab, ROWS, Report};
use crate::out;

/// Largest kept run that is read.
const MAX_REPORT: u64 = 1024 * 1024;

/// Measure this build on this machine: turns, growth, pages, start, memory, each beside a baseline of the same run.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArguments {
    #[command(subcommand)]
    command: Option<BenchCommand>,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Debug, clap::Args)]
struct RunArguments {
    /// Rows to run, as `bench rows` lists them; all if none is given, which takes nearly two hours.
    #[arg(value_name = "ROW")]
    rows: Vec<String>,
    /// Run each row for a moment: to see that it works. Its figures are rough.
    #[arg(long)]
    short: bool,
    /// Print JSON, as `bench table` reads it.
    #[arg(long)]
    json: bool,
    /// Keep the run in this new file as JSON.
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// Directory on the disk to measure; the current one if not given.
    #[arg(long, value_name = "DIR", default_value = ".")]
    disk: PathBuf,
}

#[derive(Debug, clap::Subcommand)]
enum BenchCommand {
    /// List the rows.
    Rows,
    /// Print one Markdown table of kept runs, oldest first.
    Table {
        /// Files that `--keep` made.
        #[arg(required = true, value_name = "FILE")]
        runs: Vec<PathBuf>,
    },
    /// The baseline of a page.
    #[command(hide = true)]
    Handler,
    /// The baseline of a turn.
    #[command(hide = true)]
    Client { connector: SocketAddr },
}

pub(crate) fn run(arguments: BenchArguments) -> ExitCode {
    let outcome = match arguments.command {
        None => measure(&arguments.run),
        Some(BenchCommand::Rows) => {
            out::print(&bench::list());
            Ok(ExitCode::SUCCESS)
        }
        Some(BenchCommand::Table { runs }) => table(&runs).map(|()| ExitCode::SUCCESS),
        Some(BenchCommand::Handler) => bench::handler().map(|()| ExitCode::SUCCESS),
        Some(BenchCommand::Client { connector }) => bench::client(connector).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        out::print_error(&format!("{error:#}"));
        ExitCode::from(super::NOT_REACHED)
    })
}

/// Exit code 1 if a row failed; a missed goal is no failure.
fn measure(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    let rows = match arguments.rows.as_slice() {
        [] => ROWS.iter().collect(),
        names => names.iter().map(|name| row(name)).collect::<anyhow::Result<Vec<_>>>()?,
    };
    let lab = Lab { short: arguments.short, disk: std::path::absolute(&arguments.disk)? };
    let report = bench::run(&lab, &rows, |row| out::print_error(&format!("running {row}")));
    if let Some(path) = &arguments.keep {
        keep(path, &report).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if arguments.json {
        out::print_json(&serde_json::to_value(&report)?, true);
    } else {
        out::print(&bench::terminal(&report));
    }
    Ok(if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(super::NOT_REACHED) })
}

fn row(name: &str) -> anyhow::Result<&'static bench::Row> {
    let names = || ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
    ROWS.iter()
        .find(|row| row.name == name)
        .with_context(|| format!("there is no row {name:?}; the rows are {}", names()))
}

fn keep(path: &Path, report: &Report) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    own::create_new(path, own::OpenMode::ReadWrite, 0o644).map_err(io::Error::from)?.write_all(text.as_bytes())?;
    Ok(())
}

fn table(runs: &[PathBuf]) -> anyhow::Result<()> {
    let mut reports = Vec::new();
    for path in runs {
        let text = small::read_text(path, MAX_REPORT, small::Symlinks::Follow)?;
        let report: Report =
            serde_json::from_str(&text).with_context(|| format!("{} is not a kept run", path.display()))?;
        reports.push(report);
    }
    reports.sort_by(|one, other| one.begun.cmp(&other.begun));
    out::print(&bench::markdown(&reports));
    Ok(())
}
