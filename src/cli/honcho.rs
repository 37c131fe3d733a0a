//! `caduceus honcho`: log in, show the grants, refresh one. Works with and without a running gateway, which
//! reads every change from the file. No token is ever shown.

mod grant_selector;
mod login;
mod loopback;
mod refresh;
mod status;
mod time;

use std::process::ExitCode;

use super::dumps::try_forbid_dumps;

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
    try_forbid_dumps();
    match arguments.command {
        HonchoCommand::Login(arguments) => login::run(arguments),
        HonchoCommand::Status(arguments) => status::run(arguments),
        HonchoCommand::Refresh(arguments) => refresh::run(arguments),
    }
}
