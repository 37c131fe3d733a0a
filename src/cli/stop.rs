//! `caduceus stop`: ends the gateway of a home, and no other process.

mod process;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use actix_web::rt::time::sleep;
use caduceus_actors::settings::{Environment, find_home};
use caduceus_actors::status::state_file;

use self::process::{ProcessHandle, StopSignal};
use super::contact::{CommandError, conclude};
use super::lock;
use crate::out::{self, print};

/// Interval of polling for its end.
const POLL: Duration = Duration::from_millis(100);
/// Interval at which the signal is repeated to force the stop.
const REPEAT_INTERVAL: Duration = Duration::from_millis(500);
/// How long a forced stop may take: turns have 8 s to end, the ledger and the threads 5 s each.
const FORCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Stop the gateway of a home, as SIGTERM does, and wait for its end.
///
/// Exits with 0 once no gateway holds the home, with 75 if one still does, with 77 if it is another user's.
#[derive(Debug, clap::Args)]
pub(crate) struct StopArguments {
    /// Home directory of the gateway; `HERMES_HOME`, else `~/.hermes`, if not given.
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Do not wait for running turns: they are stopped. After 30 s the process is killed.
    #[arg(long)]
    force: bool,
    /// Stop waiting after this many seconds; the gateway continues to stop.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
}

pub(crate) fn run(arguments: StopArguments) -> ExitCode {
    conclude(async {
        let path = find_home(arguments.home, &Environment::capture());
        let home = path.canonicalize().map_err(|source| CommandError::Home { path, source })?;
        let Some(gateway) = HeldGateway::of(&home)? else {
            print(&format!("no gateway holds the home {}\n", home.display()));
            return Ok(());
        };
        gateway.send(StopSignal::Terminate)?;
        gateway.end(&home, arguments.force, arguments.timeout.map(|s| Duration::from_secs(s.into()))).await
    })
}

/// The gateway of a home.
struct HeldGateway {
    pid: u32,
    process: ProcessHandle,
}

impl HeldGateway {
    /// The process that holds `home`; `None` if no process holds it.
    fn of(home: &Path) -> Result<Option<Self>, CommandError> {
        let held = || lock::is_held(home).map_err(|source| CommandError::Home { path: home.to_owned(), source });
        if !held()? {
            return Ok(None);
        }
        if let Some(written) = lock::holder(home)
            && let Some(process) = ProcessHandle::open(written)
        {
            return Ok(Some(Self { pid: written.pid, process }));
        }
        if held()? {
            let why = "it holds the home and has not recorded its process; if it is starting, try again";
            return Err(CommandError::NoAnswer(why.to_owned()));
        }
        Ok(None)
    }

    fn send(&self, signal: StopSignal) -> Result<(), CommandError> {
        self.process.send(signal).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => CommandError::NotPermitted(self.pid),
            _ => CommandError::NoAnswer(error.to_string()),
        })
    }

    /// Waits for its end.
    async fn end(&self, home: &Path, force: bool, timeout: Option<Duration>) -> Result<(), CommandError> {
        let begun = Instant::now();
        let (mut repeated_at, mut killed, mut printed) = (begun, false, None);
        // The kernel releases the lock when the process ends.
        while self.process.is_there().map_err(|error| CommandError::NoAnswer(error.to_string()))? {
            if force && !killed && begun.elapsed() >= FORCE_TIMEOUT {
                out::print_error("it does not stop; killing it");
                self.send(StopSignal::Kill)?;
                killed = true;
            } else if force && repeated_at.elapsed() >= REPEAT_INTERVAL {
                self.send(StopSignal::Terminate)?;
                repeated_at = Instant::now();
            }
            if timeout.is_some_and(|timeout| begun.elapsed() >= timeout) {
                return Err(CommandError::NoAnswer("it is still stopping".to_owned()));
            }
            let left = turns_left(home);
            if left.is_some() && left != printed {
                print(&format!("stopping, turns left: {}\n", left.unwrap_or_default()));
                printed = left;
            }
            sleep(POLL).await;
        }
        print("stopped\n");
        Ok(())
    }
}

fn turns_left(home: &Path) -> Option<u64> {
    state_file::read(home).map(|found| found.active_agents)
}
