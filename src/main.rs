//! A supervised gateway for AI agents. The life of the process, on one page.

mod cli;
mod connector;
mod http;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A supervised gateway for AI agents.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(cli::serve::Arguments),
    Demo(cli::demo::Arguments),
    Connector(cli::connector::Arguments),
    Enroll(cli::enroll::Arguments),
    Drain(cli::drain::Arguments),
    Status(cli::status::Arguments),
    Stop(cli::stop::Arguments),
    Secrets(cli::secrets::Arguments),
    Doctor(cli::doctor::Arguments),
    Honcho(cli::honcho::Arguments),
    #[command(hide = true)]
    Guard(cli::guard::Arguments),
}

fn main() -> ExitCode {
    // Before anything dials: a second provider later would panic.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("caduceus: another TLS provider is installed already");
        return cli::INTERNAL_ERROR.into();
    }
    match Arguments::parse_from(cli::arguments::to_parse()).command {
        Command::Serve(arguments) => cli::serve::run(arguments),
        Command::Demo(arguments) => cli::demo::run(&arguments),
        Command::Connector(arguments) => cli::connector::run(arguments),
        Command::Enroll(arguments) => cli::enroll::run(&arguments),
        Command::Drain(arguments) => cli::drain::run(arguments),
        Command::Status(arguments) => cli::status::run(arguments),
        Command::Stop(arguments) => cli::stop::run(arguments),
        Command::Secrets(arguments) => cli::secrets::run(arguments),
        Command::Doctor(arguments) => cli::doctor::run(arguments),
        Command::Honcho(arguments) => cli::honcho::run(arguments),
        Command::Guard(arguments) => cli::guard::run(&arguments),
    }
}
