//! A supervised gateway for AI agents. The lifecycle of the process, on one page.

// They panic when the reader is gone, and block when it does not read; `out.rs` writes.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "a test makes its own files; the build without tests has the ban")
)]

mod bench;
mod cli;
mod http;
mod out;
mod stream;
mod terminal;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

/// A turn makes and frees some hundred small values, many of them on another thread than the one that made them: with this allocator it
/// takes a quarter less CPU than with that of the C library (`docs/performance.md`).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// A supervised gateway for AI agents.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    Serve(cli::serve::ServeArguments),
    Demo(cli::demo::DemoArguments),
    Connector(cli::connector::ConnectorArguments),
    Enroll(cli::enroll::EnrollArguments),
    Drain(cli::drain::DrainArguments),
    Status(cli::status::StatusArguments),
    Stop(cli::stop::StopArguments),
    Ledger(cli::ledger::LedgerArguments),
    Secrets(cli::secrets::SecretsArguments),
    Doctor(cli::doctor::DoctorArguments),
    Honcho(cli::honcho::HonchoArguments),
    Bench(cli::bench::BenchArguments),
    #[command(hide = true)]
    Guard(cli::guard::GuardArguments),
}

fn main() -> ExitCode {
    // Before anything dials: a second provider later would panic.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        out::print_error("another TLS provider is installed already");
        return cli::INTERNAL_ERROR.into();
    }
    let code = match Arguments::try_parse_from(cli::arguments::to_parse()) {
        // A panic is reported by its hook, and is an internal error, not the exit code 101 of the standard library.
        Ok(arguments) => {
            panic::catch_unwind(AssertUnwindSafe(|| run(arguments.command))).unwrap_or(cli::INTERNAL_ERROR.into())
        }
        Err(answer) => explain(&answer),
    };
    cli::log::flush();
    out::exit_code(code)
}

fn run(command: CliCommand) -> ExitCode {
    match command {
        CliCommand::Serve(arguments) => cli::serve::run(arguments),
        CliCommand::Demo(arguments) => cli::demo::run(&arguments),
        CliCommand::Connector(arguments) => cli::connector::run(arguments),
        CliCommand::Enroll(arguments) => cli::enroll::run(&arguments),
        CliCommand::Drain(arguments) => cli::drain::run(arguments),
        CliCommand::Status(arguments) => cli::status::run(arguments),
        CliCommand::Stop(arguments) => cli::stop::run(arguments),
        CliCommand::Ledger(arguments) => cli::ledger::run(arguments),
        CliCommand::Secrets(arguments) => cli::secrets::run(arguments),
        CliCommand::Doctor(arguments) => cli::doctor::run(arguments),
        CliCommand::Honcho(arguments) => cli::honcho::run(arguments),
        CliCommand::Bench(arguments) => cli::bench::run(arguments),
        CliCommand::Guard(arguments) => cli::guard::run(&arguments),
    }
}

/// Prints the help, the version, or the error in the command line.
fn explain(answer: &clap::Error) -> ExitCode {
    let printed = answer.print();
    if !answer.use_stderr() {
        out::record(printed);
    }
    ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(cli::INTERNAL_ERROR))
}
