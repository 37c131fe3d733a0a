//! Starts a profile's agent under its guard. Blocks; run it off the arbiter.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::agent::messages::{SpawnError, SpawnedChild};
use super::input::{AgentInput, TokenReceiver};
use super::redact::Lease;
use crate::files::workers::Owner;
use crate::files::{FileWorker, Purpose};
use crate::turn::guard::{self, HeldGuard};

/// Timeout of the disk under the working directory.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of the guard's report; it is one fork away, but the machine may be overloaded.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How the guard is run: the gateway's own binary and the arguments before `-- COMMAND…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardCommand {
    /// The binary.
    pub program: PathBuf,
    /// For example `guard`.
    pub arguments: Vec<OsString>,
}

/// An agent about to be started.
pub(super) struct Launch {
    pub(super) guard: GuardCommand,
    /// Program and arguments. No secret: every process on the machine can read them.
    pub(super) command: Vec<String>,
    /// The program as configured, for errors.
    pub(super) shown: String,
    pub(super) cwd: PathBuf,
    pub(super) environment: BTreeMap<String, SecretString>,
    /// For an agent that receives the token that replaces the one in its environment.
    pub(super) token: Option<TokenReceiver>,
    /// On the values in `environment`, and on each token that it receives.
    pub(super) secrets: Lease,
}

impl Launch {
    /// Whether the agent's working directory can be reached. A directory on a hung disk is not entered, for that would block.
    pub(super) async fn reach(&self) -> Result<(), SpawnError> {
        let cwd = self.cwd.clone();
        let worker = FileWorker::of(&self.cwd, Purpose::Start, Owner::Profile);
        match worker.run(REACH_TIMEOUT, move || cwd.is_dir()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.not_found("its working directory does not exist")),
            Err(error) => Err(SpawnError::System(error.to_string())),
        }
    }

    /// Starts guard and agent, after [`Launch::reach`].
    pub(super) fn run(self) -> Result<SpawnedChild, SpawnError> {
        let system = |error: io::Error| SpawnError::System(error.to_string());
        let (ours, theirs) = UnixStream::pair().map_err(system)?;
        let (agent_stdin, stdin) = io::pipe().map_err(system)?;
        let (stdout, agent_stdout) = io::pipe().map_err(system)?;
        let (stderr, agent_stderr) = io::pipe().map_err(system)?;
        let mut guard = self.start_guard(theirs).map_err(system)?;
        let pipes = [agent_stdin.as_fd(), agent_stdout.as_fd(), agent_stderr.as_fd()];
        let started = guard::give_pipes(&ours, pipes).and_then(|()| guard::wait_started(&ours, START_TIMEOUT));
        match started {
            Ok(Ok(())) => Ok(SpawnedChild {
                guard: HeldGuard::new(guard),
                stdin: AgentInput::new(OwnedFd::from(stdin), self.token),
                stdout: OwnedFd::from(stdout),
                stderr: OwnedFd::from(stderr),
                lifeline: OwnedFd::from(ours),
                secrets: self.secrets,
            }),
            Ok(Err(error)) => {
                reap(&mut guard);
                Err(self.refused(&error))
            }
            Err(error) => {
                reap(&mut guard);
                Err(SpawnError::System(format!("its guard did not start it: {error}")))
            }
        }
    }

    fn start_guard(&self, control: UnixStream) -> io::Result<Child> {
        let environment = self.environment.iter().map(|(name, value)| (name, value.expose_secret()));
        Command::new(&self.guard.program)
            .args(&self.guard.arguments)
            .arg("--")
            .args(&self.command)
            .env_clear()
            .envs(environment)
            .current_dir(&self.cwd)
            .stdin(Stdio::from(OwnedFd::from(control)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    }

    /// Distinguishes a command that cannot be run from a system without resources at the moment.
    fn refused(&self, error: &io::Error) -> SpawnError {
        match error.kind() {
            ErrorKind::OutOfMemory | ErrorKind::WouldBlock | ErrorKind::ExecutableFileBusy => {
                SpawnError::System(error.to_string())
            }
            _ if matches!(
                rustix::io::Errno::from_io_error(error),
                Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)
            ) =>
            {
                SpawnError::System(error.to_string())
            }
            _ => self.not_found(&error.to_string()),
        }
    }

    fn not_found(&self, reason: &str) -> SpawnError {
        SpawnError::CommandNotFound { command: self.shown.clone(), reason: reason.to_owned() }
    }
}

/// A guard that started nothing must not stay behind as a zombie.
fn reap(guard: &mut Child) {
    let _ = guard.kill();
    let _ = guard.wait();
}
