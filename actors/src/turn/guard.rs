//! The process between the gateway and an agent, which ends everything that the agent leaves behind.
//!
//! The gateway re-executes its own binary as `caduceus guard -- COMMAND…`. The guard leads a separate session, adopts
//! every orphan below it (Linux), and has one end of a socket: it receives the agent's pipes through it, answers whether the
//! agent was started, and watches it from then on. A byte on it means *stop*; its end means that the gateway has exited.
//! A guard that is itself killed ends nothing; the process that waits for it kills its process group, and every process with the
//! turn's id in its environment, with all below it and in its session. If the gateway was killed too, the next one does.

mod held; // The gateway's handle of the guard.
mod subtree; // Finds and signals everything below a process.
mod wire; // The protocol on the socket, for both ends.

use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::time::Instant;

use crate::signals;

pub use held::HeldGuard;
pub use subtree::end_turns;
pub use wire::{give_pipes, send_stop, wait_started};

/// From SIGTERM to SIGKILL, when the turn is stopped.
pub const STOP_GRACE: Duration = Duration::from_secs(5);
/// The same after the gateway has exited: the agent's output has no reader.
const ORPHAN_GRACE: Duration = Duration::from_millis(500);
/// The same for processes that the agent leaves behind when it ends without a stop.
const LEFTOVER_GRACE: Duration = Duration::from_secs(1);
/// Interval of SIGKILL; the first one misses processes forked during it.
const KILL_EVERY: Duration = Duration::from_millis(20);
/// Exit code for a command that could not be started, as in a shell.
const NOT_STARTED: u8 = 127;
/// Exit code for a guard that could not do its own work.
pub const BROKEN: u8 = 125;

/// Runs `command` under this guard. Called by the hidden subcommand, on a process's main thread, before any other
/// thread exists. The code is the agent's, 128 + n if signal n ended it.
///
/// # Errors
/// If it was not started by the gateway, or the system refuses; the process is to end with [`BROKEN`].
pub fn run(command: &[OsString]) -> io::Result<ExitCode> {
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    forbid_dumps()?;
    let pipes = wire::take_pipes(&control)?;
    // A process that leads a group already, as a shell's child does, is fine.
    let _ = rustix::process::setsid();
    adopt_orphans()?;
    signals::catch_and_reset_in_children()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before the agent exists, so that neither a signal nor its end is missed.
        let ended = signal(SignalKind::child())?;
        let stops = Stops::listen()?;
        match start(command, pipes) {
            Ok(agent) => {
                wire::send_started(&control, None)?;
                Ok(ExitCode::from(watch(agent, control, ended, stops).await?))
            }
            Err(error) => {
                wire::send_started(&control, Some(&error))?;
                Ok(ExitCode::from(NOT_STARTED))
            }
        }
    })
}

fn start(command: &[OsString], pipes: wire::Pipes) -> io::Result<Pid> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let [stdin, stdout, stderr] = pipes.map(Stdio::from);
    // The guard's ends of the pipes are dropped with the builder, at the end of this function.
    let child = Command::new(program).args(arguments).stdin(stdin).stdout(stdout).stderr(stderr).spawn()?;
    Ok(Pid::from_child(&child))
}

/// Blocks access to the guard's memory and environment for other processes of this user, and core files: both have the secrets of a
/// profile. The agent is accessible again once it runs its own program; it writes no core file unless it raises its limit.
fn forbid_dumps() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    let limit = rustix::process::getrlimit(Resource::Core);
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), ..limit })?;
    Ok(())
}

/// Makes the orphans below this process its children, if the system can.
fn adopt_orphans() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// The signals that mean *stop*.
struct Stops {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
    quit: Stream,
}

impl Stops {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}

/// Waits until the agent and everything below it has ended, and enforces that when the time is over.
async fn watch(agent: Pid, control: UnixStream, mut ended: Stream, mut stops: Stops) -> io::Result<u8> {
    control.set_nonblocking(true)?;
    let mut control = Some(tokio::net::UnixStream::from_std(control)?);
    let mut code = None;
    // The time of SIGKILL; SIGTERM has been sent once this is set.
    let mut kill_at: Option<Instant> = None;
    loop {
        let alone = reap(agent, &mut code);
        if let (Some(code), true) = (code, alone) {
            return Ok(code);
        }
        if code.is_some() {
            end_within(LEFTOVER_GRACE, &mut kill_at);
        }
        tokio::select! {
            _ = ended.recv() => {}
            () = stops.received() => end_within(STOP_GRACE, &mut kill_at),
            event = listen(&mut control) => match event {
                ControlEvent::Stop => end_within(STOP_GRACE, &mut kill_at),
                ControlEvent::Gone => {
                    control = None;
                    end_within(ORPHAN_GRACE, &mut kill_at);
                }
            },
            () = until(kill_at) => {
                subtree::signal(Signal::KILL);
                kill_at = Some(Instant::now() + KILL_EVERY);
            }
        }
    }
}

/// Sends SIGTERM to everything below, unless that was done, and schedules SIGKILL after `grace` at the latest.
fn end_within(grace: Duration, kill_at: &mut Option<Instant>) {
    if kill_at.is_none() {
        subtree::signal(Signal::TERM);
    }
    let at = Instant::now() + grace;
    *kill_at = Some(kill_at.map_or(at, |earlier| earlier.min(at)));
}

/// Reaps ended processes. Stores the agent's exit code; returns whether no process is left.
fn reap(agent: Pid, code: &mut Option<u8>) -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == agent => *code = Some(code_of(status)),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return false,
            // An agent that another process has waited for left no exit code.
            Err(_) => {
                code.get_or_insert(BROKEN);
                return true;
            }
        }
    }
}

fn code_of(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(BROKEN)
}

/// The events on the socket.
enum ControlEvent {
    Stop,
    Gone,
}

async fn listen(control: &mut Option<tokio::net::UnixStream>) -> ControlEvent {
    let Some(socket) = control else { return pending().await };
    match socket.read(&mut [0; 16]).await {
        Ok(0) | Err(_) => ControlEvent::Gone,
        Ok(_) => ControlEvent::Stop,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}
