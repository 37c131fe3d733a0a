//! `caduceus guard -- COMMAND…`, hidden: runs one agent and ends all of it with the gateway.

use std::ffi::OsString;
use std::process::ExitCode;

use caduceus_actors::turn::guard;

use crate::out;

/// Run an agent under guard. For the gateway only.
#[derive(Debug, clap::Args)]
pub(crate) struct GuardArguments {
    /// The agent's program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(arguments: &GuardArguments) -> ExitCode {
    guard::run(&arguments.command).unwrap_or_else(|error| {
        // The gateway discards standard error; a person who runs this by hand sees it.
        out::print_error(&format!("the guard is run by the gateway only: {error}"));
        guard::BROKEN.into()
    })
}
