//! A plain OS thread that watches the root's thread and, during the shutdown, the clock.
//!
//! It needs nothing of what it watches: no runtime, no channel, no log. When it fires it writes where everyone was and ends
//! the process, so that the service manager starts a new one. The end never waits for the text.

use std::fmt::Write as _;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::board::{Board, TreeNode};
use super::pulse::Pulse;
use super::watch::Lookout;

/// The exit code when the watchdog fires: worth another try.
const EXIT_CODE: u8 = 75;

/// How long its text may take; standard error may lead nowhere.
const TEXT_TIMEOUT: Duration = Duration::from_secs(1);

/// Looks per allowance.
const LOOKS: u32 = 10;

/// The handle on the watchdog's thread. Cheap to clone; dropping it stops nothing.
#[derive(Clone)]
pub struct Watchdog(Arc<Inner>);

struct Inner {
    stale_after: Duration,
    state: Mutex<State>,
    changed: Condvar,
    bite: Box<dyn Fn(Bite) + Send + Sync>,
}

#[derive(Default)]
struct State {
    charge: Option<(Pulse, Board)>,
    deadline: Option<(Instant, u8)>,
    disarmed: bool,
}

/// Why the watchdog fired, and where everyone was.
#[derive(Debug, Clone)]
pub struct Bite {
    /// What was too late.
    pub cause: Cause,
    /// One line for each child, parents first.
    pub report: String,
    /// What the process is to end with.
    pub exit_code: u8,
}

/// What was too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The root's thread did not turn.
    RootSilent,
    /// What was to be done by the deadline was not.
    DeadlineMissed,
}

impl Watchdog {
    /// Starts the watchdog. It bites when the root's thread is silent for `stale_after`: it exits with 75, after an attempt
    /// of at most 1 s to write the report to standard error. Arm it before the actix system starts; until a root is given to
    /// it, it only waits.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn arm(stale_after: Duration) -> io::Result<Self> {
        Self::arm_with(stale_after, |bite| {
            attempt(format!("watchdog: {:?}, exit {}\n{}", bite.cause, bite.exit_code, bite.report));
            std::process::exit(bite.exit_code.into());
        })
    }

    /// Like [`Watchdog::arm`], with something else to do in the end. It is done once, on the watchdog's thread.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn arm_with(stale_after: Duration, bite: impl Fn(Bite) + Send + Sync + 'static) -> io::Result<Self> {
        let bite = Box::new(bite);
        let watchdog = Self(Arc::new(Inner { stale_after, state: Mutex::default(), changed: Condvar::new(), bite }));
        let watching = watchdog.clone();
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || watching.watch())?;
        Ok(watchdog)
    }

    /// Bites, with an end with `exit_code`, unless the process is gone, or [`Watchdog::disarm`]ed, within `length` from now.
    /// An earlier deadline is replaced.
    pub fn arm_deadline(&self, length: Duration, exit_code: u8) {
        self.state().deadline = Some((Instant::now() + length, exit_code));
        self.0.changed.notify_all();
    }

    /// Ends the watch for good.
    pub fn disarm(&self) {
        self.state().disarmed = true;
        self.0.changed.notify_all();
    }

    /// Whether the root's thread has turned within the allowance. Not before there is a root.
    #[must_use]
    pub fn fresh(&self) -> bool {
        self.state().charge.as_ref().is_some_and(|(pulse, _)| pulse.age() < self.0.stale_after)
    }

    pub(super) fn look_after(&self, pulse: Pulse, board: Board) {
        self.state().charge = Some((pulse, board));
    }

    fn watch(&self) {
        let mut lookout = Lookout::new(self.0.stale_after, Instant::now());
        let (cause, exit_code) = loop {
            let period = self.0.stale_after / LOOKS;
            let (mut state, _) =
                self.0.changed.wait_timeout(self.state(), period).unwrap_or_else(PoisonError::into_inner);
            if state.disarmed {
                return;
            }
            let now = Instant::now();
            if let Some(late) = lookout.look(now) {
                // Whoever was to meet the deadline was held up as long as we were.
                state.deadline = state.deadline.map(|(deadline, code)| (deadline + late, code));
            }
            let end = state.deadline;
            if let Some((_, code)) = end.filter(|(deadline, _)| *deadline <= now) {
                break (Cause::DeadlineMissed, code);
            }
            if state.charge.as_ref().is_some_and(|(pulse, _)| lookout.is_stale(pulse.last(), now)) {
                // Where it is decided already how the process ends, a silence on the way does not change it.
                break (Cause::RootSilent, end.map_or(EXIT_CODE, |(_, code)| code));
            }
        };
        let charge = self.state().charge.clone();
        let report = charge.map(|(_, board)| report_within(board, TEXT_TIMEOUT)).unwrap_or_default();
        (self.0.bite)(Bite { cause, report, exit_code });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watchdog").field("stale_after", &self.0.stale_after).finish_non_exhaustive()
    }
}

/// Does `work` on a thread of its own, which may stay behind; `None` if it takes longer than `timeout`.
fn within<R: Send + 'static>(timeout: Duration, work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    let (done, wait) = mpsc::channel();
    let started = thread::Builder::new().name("watchdog-text".to_owned()).spawn(move || {
        let _ = done.send(work());
    });
    started.ok().and_then(|_| wait.recv_timeout(timeout).ok())
}

/// Writes to standard error, past its lock, which a thread that hangs may hold.
#[expect(clippy::disallowed_methods, reason = "only the descriptor is taken")]
fn attempt(text: String) {
    within(TEXT_TIMEOUT, move || {
        let (stderr, mut left) = (io::stderr(), text.as_bytes());
        while !left.is_empty() {
            match rustix::io::write(stderr.as_fd(), left) {
                Ok(written) => left = &left[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
    });
}

/// The report, unless a thread that hangs holds what it is made from.
fn report_within(board: Board, timeout: Duration) -> String {
    let report = within(timeout, move || report(&board.snapshot()));
    report.unwrap_or_else(|| "where everyone was cannot be read\n".to_owned())
}

/// Where everyone was, one line for each.
fn report(tree: &TreeNode) -> String {
    let mut lines = String::new();
    for node in tree.walk() {
        let name = if node.path.is_empty() { "root" } else { &node.path };
        // Writing to a string cannot fail.
        let _ = writeln!(
            lines,
            "{name}: {:?}, generation {}, lane {}, heartbeat {} ms ago, {} waiting",
            node.state,
            node.generation,
            node.lane,
            node.heartbeat_age_ms.map_or_else(|| "?".to_owned(), |age| age.to_string()),
            node.queue_depth,
        );
    }
    lines
}
