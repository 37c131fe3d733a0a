//! `caduceus connector`: the other end of the relay wire, for trials, demonstrations and tests.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use caduceus_actors::settings::{Environment, client_of_command};
use futures_util::future::{Either, select};
use serde_json::json;

use super::signals::{SignalOrder, Signals};
use crate::connector::{self, ConnectorOptions};
use crate::out;

/// Run a development connector with a web chat.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Address to listen on; port 0 takes a free one, which the first line on standard output tells.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// File that keeps credentials and waiting messages across restarts.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Let gateways dial without a token.
    #[arg(long)]
    open: bool,
}

/// Serves until SIGINT, SIGTERM or SIGQUIT, and started on a terminal until that hangs up.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let redactor = caduceus_actors::profile::Redactor::default();
    super::log::init(&redactor, "info", super::log::LogFormat::Text);
    super::signals::withstand();
    match actix_web::rt::System::new().block_on(serve(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::complain(&format!("{error:#}"));
            ExitCode::from(super::TRY_AGAIN)
        }
    }
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { bind, data, open } = arguments;
    let mut signals = Signals::listen().context("cannot await signals")?;
    let mut warnings = Vec::new();
    let http = client_of_command(&Environment::capture(), &mut warnings);
    for warning in warnings {
        tracing::warn!(warning, "a setting is odd");
    }
    let connector = connector::bind(ConnectorOptions { bind, data, open, http }).await?;
    let handle = connector.handle();
    // By this line a script learns the port.
    out::announce(json!({"listening": handle.url()}).to_string());
    let signalled = Box::pin(async {
        while signals.next().await == SignalOrder::Reload {
            tracing::info!("SIGHUP ignored: a connector has no files to read again");
        }
    });
    match select(Box::pin(connector.run()), signalled).await {
        Either::Left((ended, _)) => ended.context("the listener ended"),
        Either::Right(((), running)) => {
            // The server only makes progress while it is awaited.
            let ((), ended) = futures_util::future::join(handle.stop(), running).await;
            ended.context("the listener ended")
        }
    }
}
