//! `caduceus serve`: the gateway itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use caduceus_actors::honcho::steps::{RefreshStep, StepHook};
use caduceus_actors::profile::Redactor;
use caduceus_actors::settings::{Environment, Settings, find_home};
use caduceus_actors::status::identity;
use tracing_subscriber::filter::LevelFilter;

use super::arguments;
use super::dumps::forbid_dumps;
use super::failure::fail;
use super::life::{self, GatewayLaunch};
use super::lock::{HomeLock, HomeLockError};
use super::log::{self, LogFormat};
use super::signals;
use crate::out;

/// Run the gateway of a home until SIGTERM or SIGINT.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArguments {
    /// Home directory; `HERMES_HOME`, else `~/.hermes`, if not given.
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Address to listen on, instead of `http.bind`; port 0 takes a free one, printed in the first line on
    /// standard output.
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<SocketAddr>,
    /// Allow fault injection into actors, from loopback. For trials.
    #[arg(long)]
    allow_faults: bool,
    /// Allow every process on this machine to drain, to stop turns, and to retry and drop rows of the ledger, without a token
    /// while no secret is configured. Texts of the ledger need the token nevertheless. For trials.
    #[arg(long)]
    insecure_loopback_drain: bool,
    /// Format of the log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log: LogFormat,
    /// Let other processes of this user read the memory of this process, as debuggers and profilers must.
    #[arg(long, hide = true)]
    dumpable: bool,
    /// Block at this step of a refresh and log it, for tests that kill the process there.
    #[arg(long, hide = true, value_name = "STEP")]
    stall_refresh: Option<RefreshStep>,
}

pub(crate) fn run(arguments: ServeArguments) -> ExitCode {
    let started = Instant::now();
    let redactor = Redactor::default();
    let environment = Environment::capture();
    log::init(&redactor, &environment, LevelFilter::INFO, arguments.log);
    signals::catch_unused();
    if !arguments.dumpable
        && let Err(error) = forbid_dumps()
    {
        tracing::warn!(%error, "other processes of this user can read the memory of this process");
    }
    let home = find_home(arguments.home, &environment);
    let settings = match Settings::load(&home, environment) {
        Ok(settings) => settings,
        Err(error) => return fail(&error, super::CONFIGURATION),
    };
    let _lock = match HomeLock::take(&settings.home, &identity::own(arguments::as_given())) {
        Ok(lock) => lock,
        Err(error @ HomeLockError::Held(_)) => return fail(&error, super::REFUSED),
        Err(error @ (HomeLockError::File(_) | HomeLockError::Unusable { .. })) => {
            let code = if error.is_temporary() { super::TRY_AGAIN } else { super::CONFIGURATION };
            return fail(&error, code);
        }
    };
    let launch = GatewayLaunch {
        bind: arguments.bind.unwrap_or(settings.values.http.bind),
        settings,
        redactor,
        started,
        allow_faults: arguments.allow_faults,
        insecure_loopback_drain: arguments.insecure_loopback_drain,
        refresh_steps: arguments.stall_refresh.map_or_else(StepHook::default, stall_at),
        signals: None,
    };
    life::run(launch, |address| {
        out::announce_address(format!("http://{address}"));
    })
}

/// Blocks a refresh at `step`, which is logged first.
fn stall_at(step: RefreshStep) -> StepHook {
    StepHook::new(move |reached| {
        if reached == step {
            tracing::warn!(?step, "refresh stalled on request");
            loop {
                std::thread::park();
            }
        }
    })
}
