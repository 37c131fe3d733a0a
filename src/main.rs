//! A supervised gateway for AI agents. The life of the process, on one page.

// They panic when the reader is gone, and block when it does not read; `out.rs` writes.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "a test makes its own files; the build without tests has the ban")
)]

mod cli;
mod connector;
mod http;
mod out;
mod stream;
mod terminal;

use std::panic::{self, AssertUnwindSafe};
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
        out::complain("another TLS provider is installed already");
        return cli::INTERNAL_ERROR.into();
    }
    let code = match Arguments::try_parse_from(cli::arguments::to_parse()) {
        // A panic is said by its hook, and is an internal error, not the 101 of the language.
        Ok(arguments) => {
            panic::catch_unwind(AssertUnwindSafe(|| run(arguments.command))).unwrap_or(cli::INTERNAL_ERROR.into())
        }
        Err(answer) => explain(&answer),
    };
    cli::log::flush();
    out::outcome(code)
}

fn run(command: Command) -> ExitCode {
    match command {
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

/// Prints the help or the version that was asked for, or what is wrong with the command line.
fn explain(answer: &clap::Error) -> ExitCode {
    let printed = answer.print();
    if !answer.use_stderr() {
        out::note(printed);
    }
    ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(cli::INTERNAL_ERROR))
}
