//! A running agent as its turn sees it: its output, its input, how it ends.
//!
//! Its pipes are served by tasks of their own, so that an agent that does not read cannot keep its turn from reading it.
//! Dropping a process ends the whole agent: its lifeline closes, and its guard is waited for.

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
use caduceus_supervision::Carried;

/// Bytes of output that end a turn.
const MAX_OUTPUT: usize = 4 * 1024 * 1024;
/// Bytes read at once.
const CHUNK: usize = 32 * 1024;
/// Pieces of output that wait for the turn; then the agent waits.
const MAX_PIECES: usize = 8;
/// Lines that wait for an agent to read; then it is taken for one that does not.
const MAX_LINES: usize = 256;
/// How long after its own SIGKILL a guard may take before it is killed itself.
const GUARD_GRACE: Duration = Duration::from_secs(2);
/// How long what is left of an agent whose guard was killed is looked for.
const STRAYS_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks at the guard, where the signal of its end was lost.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A running agent.
pub(super) struct AgentProcess {
    guard: Option<HeldGuard>,
    turn: TurnId,
    pid: Pid,
    lifeline: Option<UnixStream>,
    output: Option<mpsc::Receiver<Output>>,
    input: Option<mpsc::Sender<String>>,
    ended: Stream,
    /// When the guard is killed, and when it is given up; set by [`AgentProcess::stop`].
    force_at: Option<Instant>,
    /// Serves standard input and output; ends with the process.
    pipes: JoinSet<()>,
    /// Serves standard error.
    log: JoinSet<()>,
    /// Until nothing of it can reach the log any more.
    _secrets: Lease,
}

/// What an agent did.
#[derive(Debug)]
pub(super) enum ProcessEvent {
    /// It said something.
    Said(Output),
    /// It has ended, and its guard. What it said before may still be on its way.
    Ended(Exit),
}

/// What an agent said on its standard output.
#[derive(Debug)]
pub(super) enum Output {
    /// Whole lines, or what stands at the end without one.
    Text(String),
    /// More than it may.
    TooMuch,
}

impl AgentProcess {
    /// Takes over a child that was started for `turn`.
    ///
    /// # Errors
    /// What the system says; the agent is ended.
    #[expect(clippy::disallowed_methods, reason = "each is carried")]
    pub(super) fn new(child: SpawnedChild, turn: TurnId, redactor: Redactor) -> std::io::Result<Self> {
        let (said, output) = mpsc::channel(MAX_PIECES);
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
        process.pipes.spawn_local(Carried::new(child.stdin.serve(lines)?));
        process.pipes.spawn_local(Carried::new(read(receiver(child.stdout)?, said)));
        process.log.spawn_local(Carried::new(log(receiver(child.stderr)?, turn, redactor)));
        Ok(process)
    }

    /// Waits for what it says or does next. After [`ProcessEvent::Ended`] it is not to be asked again.
    pub(super) async fn next(&mut self) -> ProcessEvent {
        loop {
            if let Some(exit) = self.look() {
                return ProcessEvent::Ended(exit);
            }
            tokio::select! {
                biased;
                _ = self.ended.recv() => {}
                said = receive(&mut self.output) => if let Some(said) = said {
                    return ProcessEvent::Said(said);
                },
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// The next thing said, without regard to the agent's end; `None` when there is nothing more.
    pub(super) async fn said(&mut self) -> Option<Output> {
        if self.output.is_some() { receive(&mut self.output).await } else { None }
    }

    /// Waits until what was written to standard error is in the log.
    pub(super) async fn logged(&mut self) {
        while self.log.join_next().await.is_some() {}
    }

    /// Writes the agent a line. `false` if it does not read.
    pub(super) fn tell(&self, line: String) -> bool {
        self.input.as_ref().is_some_and(|input| input.try_send(line).is_ok())
    }

    /// Nothing more will be written: standard input ends after what was written already.
    pub(super) fn close_input(&mut self) {
        self.input = None;
    }

    /// Has the agent ended: SIGTERM now, SIGKILL after 5 s. Stopping twice is fine.
    pub(super) fn stop(&mut self) {
        if self.force_at.is_some() {
            return;
        }
        self.force_at = Some(Instant::now() + guard::STOP_GRACE + GUARD_GRACE);
        if let Some(Err(error)) = self.lifeline.as_ref().map(guard::say_stop) {
            debug!(%error, "guard ended before it was asked to stop");
        }
    }

    fn look(&mut self) -> Option<Exit> {
        let guard = self.guard.as_mut()?;
        match guard.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => return Some(self.exited(status)),
            Err(error) => {
                warn!(%error, "a guard cannot be waited for");
                return Some(Exit::Never);
            }
        }
        let now = Instant::now();
        let force_at = self.force_at?;
        if now >= force_at + GUARD_GRACE {
            warn!(pid = %self.pid.as_raw_nonzero(), "an agent does not end, not even by SIGKILL");
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
                // Its guard can no longer end what is left of the agent.
                self.kill_group();
                self.end_strays();
                Exit::Killed
            },
            Exit::Code,
        )
    }

    /// What has left the group. Looking through all processes is nothing for an arbiter.
    fn end_strays(&self) {
        let turn = self.turn;
        let reaper = std::thread::Builder::new().name("reaper".to_owned());
        if let Err(error) = reaper.spawn(move || guard::end_turns(&[turn], STRAYS_TIMEOUT)) {
            warn!(%turn, %error, "what an agent left behind is not looked for");
        }
    }

    fn kill_group(&self) {
        if let Err(error) = kill_process_group(self.pid, Signal::KILL) {
            debug!(%error, "nothing is left of an agent's group");
        }
    }
}

/// The next thing said. Forgets the channel once there is nothing more; without one it never ends.
async fn receive(output: &mut Option<mpsc::Receiver<Output>>) -> Option<Output> {
    let Some(channel) = output else { return pending().await };
    let said = channel.recv().await;
    if matches!(said, None | Some(Output::TooMuch)) {
        *output = None;
    }
    said
}

fn receiver(fd: OwnedFd) -> std::io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(fd)
}

async fn read(mut pipe: pipe::Receiver, said: mpsc::Sender<Output>) {
    let mut waiting: Vec<u8> = Vec::new();
    let mut total = 0;
    let mut chunk = vec![0; CHUNK];
    loop {
        // A pipe that breaks has ended.
        let bytes = pipe.read(&mut chunk).await.unwrap_or(0);
        total += bytes;
        if total > MAX_OUTPUT {
            let _ = said.send(Output::TooMuch).await;
            return;
        }
        let fresh = waiting.len();
        waiting.extend_from_slice(&chunk[..bytes]);
        let line_end = waiting[fresh..].iter().rposition(|byte| *byte == b'\n').map(|at| fresh + at + 1);
        let end = if bytes == 0 { Some(waiting.len()) } else { line_end };
        if let Some(end) = end.filter(|end| *end > 0) {
            let text = String::from_utf8_lossy(&waiting[..end]).into_owned();
            waiting.drain(..end);
            if said.send(Output::Text(text)).await.is_err() {
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
                StderrEntry::Line(line) => info!(%turn, line, "an agent wrote to its standard error"),
                StderrEntry::LeftOut(lines) => warn!(%turn, lines, "an agent wrote too much to its standard error"),
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
