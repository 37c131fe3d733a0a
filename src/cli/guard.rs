//! `caduceus guard -- COMMAND…`, hidden: runs one agent and ends all of it with the gateway.

use std::ffi::OsString;
use std::process::ExitCode;

use caduceus_actors::turn::guard;

/// Run an agent under guard. For the gateway only.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The agent's program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    guard::run(&arguments.command)
}
