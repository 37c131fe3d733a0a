//! A supervised gateway for AI agents.

pub mod cli;
pub mod connector;

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
    Connector(cli::connector::Arguments),
}

fn main() -> anyhow::Result<()> {
    // Before anything dials: a second provider later would panic.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("another TLS provider is installed already");
    }
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    actix_web::rt::System::new().block_on(async move {
        match arguments.command {
            Command::Connector(arguments) => cli::connector::run(arguments).await,
        }
    })
}
