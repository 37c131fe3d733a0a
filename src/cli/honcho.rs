//! `caduceus honcho`: log in, look at the grants, refresh one by hand. Works with and without a running gateway, which
//! reads every change from the file. No token is ever shown.

mod login;
mod loopback;
mod refresh;
mod status;
mod time;
mod whose;

use std::process::ExitCode;

use super::dumps::forbid_dumps;
use crate::out;

/// Manage the OAuth grants of Honcho: log in, show them, refresh one.
#[derive(Debug, clap::Args)]
pub(crate) struct HonchoArguments {
    #[command(subcommand)]
    command: HonchoCommand,
}

#[derive(Debug, clap::Subcommand)]
enum HonchoCommand {
    Login(login::LoginGrantArguments),
    Status(status::GrantStatusArguments),
    Refresh(refresh::RefreshGrantArguments),
}

pub(crate) fn run(arguments: HonchoArguments) -> ExitCode {
    if let Err(error) = forbid_dumps() {
        out::complain(&format!("other processes of this user can read the memory of this process: {error}"));
    }
    match arguments.command {
        HonchoCommand::Login(arguments) => login::run(arguments),
        HonchoCommand::Status(arguments) => status::run(arguments),
        HonchoCommand::Refresh(arguments) => refresh::run(arguments),
    }
}
