//! A running agent for its turn: its output, its input, its end.
//!
//! Its pipes have separate tasks, so that an agent that does not read cannot block the reading of its output.
//! Dropping a process ends the whole agent: its lifeline closes, and its guard is reaped.

use std::future::pending;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::guard::{self, HeldGuard};
use super::stderr_log::{StderrEntry, StderrLog};
use super::verdict::Exit;
use crate::profile::agent::messages::SpawnedChild;
use crate::profile::redact::{Lease, Redactor};
use caduceus_contract::turn_id::TurnId;
use caduceus_supervision::IncarnationFuture;

/// Bytes of output that end a turn.
const MAX_OUTPUT: usize = 4 * 1024 * 1024;
/// Bytes per read.
const CHUNK: usize = 32 * 1024;
/// Pieces of output in the queue of the turn; when it is full, the agent waits.
const MAX_PIECES: usize = 8;
/// Lines in the queue of the agent's input; when it is full, the agent counts as not reading.
const MAX_LINES: usize = 256;
/// How long after its own SIGKILL a guard may run before it is killed itself.
const GUARD_GRACE: Duration = Duration::from_secs(2);
/// How long to search for remaining processes of an agent whose guard was killed.
const ORPHANS_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval of checks of the guard, in case the signal of its end was lost.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A running agent.
pub(super) struct AgentProcess {
    guard: Option<HeldGuard>,
    turn: TurnId,
    pid: Pid,
    lifeline: Option<UnixStream>,
    output: Option<mpsc::Receiver<Output>>,
    input: Option<mpsc::Sender<String>>,
    ended: Stream,
    /// The times at which the guard is killed, and abandoned; set by [`AgentProcess::stop`].
    force_at: Option<Instant>,
    /// Serves standard input and output; ends with the process.
    pipes: JoinSet<()>,
    /// Serves standard error.
    log: JoinSet<()>,
    /// Until nothing of it can reach the log any more.
    _secrets: Lease,
}

/// An event of an agent.
#[derive(Debug)]
pub(super) enum ProcessEvent {
    /// It wrote output.
    Wrote(Output),
    /// It has ended, and its guard. Earlier output may still be in the queue.
    Ended(Exit),
}

/// Standard output of an agent.
#[derive(Debug)]
pub(super) enum Output {
    /// Complete lines, or an incomplete one at the end.
    Text(String),
    /// More than the limit.
    TooMuch,
}

impl AgentProcess {
    /// Takes over a child that was started for `turn`.
    ///
    /// # Errors
    /// The system's error; the agent is ended.
    #[expect(clippy::disallowed_methods, reason = "each is carried")]
    pub(super) fn new(child: SpawnedChild, turn: TurnId, redactor: Redactor) -> std::io::Result<Self> {
        let (pieces, output) = mpsc::channel(MAX_PIECES);
        let (input, lines) = mpsc::channel(MAX_LINES);
        let mut process = Self {
            turn,
            pid: child.guard.pid(),
            guard: Some(child.guard),
            lifeline: Some(UnixStream::from(child.lifeline)),
            output: Some(output),
            input: Some(input),
            ended: signal(SignalKind::child())?,
            force_at: None,
            pipes: JoinSet::new(),
            log: JoinSet::new(),
            _secrets: child.secrets,
        };
        process.pipes.spawn_local(IncarnationFuture::new(child.stdin.serve(lines)?));
        process.pipes.spawn_local(IncarnationFuture::new(read(receiver(child.stdout)?, pieces)));
        process.log.spawn_local(IncarnationFuture::new(log(receiver(child.stderr)?, turn, redactor)));
        Ok(process)
    }

    /// Waits for its next event. Must not be called after [`ProcessEvent::Ended`].
    pub(super) async fn next(&mut self) -> ProcessEvent {
        loop {
            if let Some(exit) = self.check_guard() {
                return ProcessEvent::Ended(exit);
            }
            tokio::select! {
                biased;
                _ = self.ended.recv() => {}
                piece = receive(&mut self.output) => if let Some(piece) = piece {
                    return ProcessEvent::Wrote(piece);
                },
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
        }
    }

    /// The next output, whether or not the agent has ended; `None` at the end of its output.
    pub(super) async fn next_output(&mut self) -> Option<Output> {
        if self.output.is_some() { receive(&mut self.output).await } else { None }
    }

    /// Waits until the standard error is in the log.
    pub(super) async fn logged(&mut self) {
        while self.log.join_next().await.is_some() {}
    }

    /// Writes a line to the agent. `false` if it does not read.
    pub(super) fn tell(&self, line: String) -> bool {
        self.input.as_ref().is_some_and(|input| input.try_send(line).is_ok())
    }

    /// Nothing more will be written: standard input ends after the queued lines.
    pub(super) fn close_input(&mut self) {
        self.input = None;
    }

    /// Ends the agent: SIGTERM now, SIGKILL after 5 s. Stopping twice is fine.
    pub(super) fn stop(&mut self) {
        if self.force_at.is_some() {
            return;
        }
        self.force_at = Some(Instant::now() + guard::STOP_GRACE + GUARD_GRACE);
        if let Some(Err(error)) = self.lifeline.as_ref().map(guard::send_stop) {
            debug!(%error, "guard ended before the order to stop");
        }
    }

    fn check_guard(&mut self) -> Option<Exit> {
        let guard = self.guard.as_mut()?;
        match guard.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => return Some(self.exited(status)),
            Err(error) => {
                warn!(%error, "guard cannot be waited for");
                return Some(Exit::Never);
            }
        }
        let now = Instant::now();
        let force_at = self.force_at?;
        if now >= force_at + GUARD_GRACE {
            warn!(pid = %self.pid.as_raw_nonzero(), "agent does not end after SIGKILL");
            return Some(Exit::Never);
        }
        if now >= force_at {
            self.kill_group();
        }
        None
    }

    fn exited(&mut self, status: ExitStatus) -> Exit {
        self.guard = None;
        status.code().map_or_else(
            || {
                // The killed guard cannot end the remaining processes of the agent.
                self.kill_group();
                self.end_orphans();
                Exit::Killed
            },
            Exit::Code,
        )
    }

    /// The processes that have left the group. A scan of all processes takes too long for an arbiter.
    fn end_orphans(&self) {
        let (turn, guard) = (self.turn, self.pid);
        let reaper = std::thread::Builder::new().name("reaper".to_owned());
        if let Err(error) = reaper.spawn(move || guard::end_turns(&[turn], Some(guard), ORPHANS_TIMEOUT)) {
            warn!(%turn, %error, "remaining processes of an agent not searched for");
        }
    }

    fn kill_group(&self) {
        if let Err(error) = kill_process_group(self.pid, Signal::KILL) {
            debug!(%error, "no process left in an agent's group");
        }
    }
}

/// The next output. Drops the channel after its end; without one it never completes.
async fn receive(output: &mut Option<mpsc::Receiver<Output>>) -> Option<Output> {
    let Some(channel) = output else { return pending().await };
    let piece = channel.recv().await;
    if matches!(piece, None | Some(Output::TooMuch)) {
        *output = None;
    }
    piece
}

fn receiver(fd: OwnedFd) -> std::io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(fd)
}

async fn read(mut pipe: pipe::Receiver, pieces: mpsc::Sender<Output>) {
    let mut waiting: Vec<u8> = Vec::new();
    let mut total = 0;
    let mut chunk = vec![0; CHUNK];
    loop {
        // A broken pipe has ended.
        let bytes = pipe.read(&mut chunk).await.unwrap_or(0);
        total += bytes;
        if total > MAX_OUTPUT {
            let _ = pieces.send(Output::TooMuch).await;
            return;
        }
        let fresh = waiting.len();
        waiting.extend_from_slice(&chunk[..bytes]);
        let line_end = waiting[fresh..].iter().rposition(|byte| *byte == b'\n').map(|at| fresh + at + 1);
        let end = if bytes == 0 { Some(waiting.len()) } else { line_end };
        if let Some(end) = end.filter(|end| *end > 0) {
            let text = String::from_utf8_lossy(&waiting[..end]).into_owned();
            waiting.drain(..end);
            if pieces.send(Output::Text(text)).await.is_err() {
                return;
            }
        }
        if bytes == 0 {
            return;
        }
    }
}

async fn log(mut pipe: pipe::Receiver, turn: TurnId, redactor: Redactor) {
    let mut lines = StderrLog::default();
    let mut chunk = vec![0; CHUNK];
    let write = |entries: Vec<StderrEntry>| {
        for entry in entries {
            match entry {
                StderrEntry::Line(line) => info!(%turn, line, "agent wrote to its standard error"),
                StderrEntry::Dropped(lines) => warn!(%turn, lines, "agent wrote too much to its standard error"),
            }
        }
    };
    loop {
        match pipe.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(bytes) => write(lines.push(&chunk[..bytes], &redactor, Instant::now())),
        }
    }
    write(lines.finish(&redactor, Instant::now()));
}
