//! `caduceus doctor`: checks a home, and prints a remedy for each finding.

mod agent;
mod evaluate;
mod events;
mod facts;
mod gather;
mod grant;

use std::path::PathBuf;
use std::process::ExitCode;

use caduceus_actors::settings::{Environment, find_home};
use serde_json::json;

use super::dumps::try_forbid_dumps;
use super::finding::{Level, lines, worst};
use crate::out::{print, print_json};

/// Check a home and everything that its gateway needs, and print findings with remedies.
///
/// Changes nothing, and can be run beside a gateway. Run it as the user and with the environment of the gateway. Exits with 0 without a finding,
/// with 1 for a warning, with 2 for an error.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArguments {
    /// Home directory; `HERMES_HOME`, else `~/.hermes`, if not given.
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: DoctorArguments) -> ExitCode {
    try_forbid_dumps();
    let environment = Environment::capture();
    let home = find_home(arguments.home, &environment);
    let findings = evaluate::findings(&gather::facts(&home, environment));
    let level = worst(&findings);
    if arguments.json {
        let report = json!({"home": home.display().to_string(), "level": level, "findings": findings});
        print_json(&report, true);
    } else {
        print(&format!("home {}\n\n{}", home.display(), lines(&findings)));
    }
    ExitCode::from(match level {
        Level::Ok => 0,
        Level::Warn => 1,
        Level::Error => 2,
    })
}
