//! An OS thread that monitors the root's thread and a deadline.
//!
//! It depends on nothing that it monitors: no runtime, no channel, no log. So it requests no heartbeat; the heartbeat check, which runs on the
//! root's thread, requests that of its own thread. When it fires it calls the function it was started with,
//! which usually writes the report and ends the process, so that the service manager starts a new one. A report that
//! cannot be made in time is left out.

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use crate::board::Board;
use crate::heartbeat::Heartbeat;
use crate::locked::locked;
use crate::monotonic;
use crate::staleness::Staleness;
use crate::tree::Tree;

/// Timeout of the report: a thread that hangs may hold a lock that it needs.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// Checks per `stale_after`.
const CHECKS: u32 = 10;

/// The handle on the watchdog's thread. Cheap to clone; dropping it stops nothing.
#[derive(Clone)]
pub struct Watchdog(Arc<WatchdogShared>);

struct WatchdogShared {
    stale_after: Duration,
    state: Mutex<WatchdogState>,
    changed: Condvar,
    on_timeout: Box<dyn Fn(WatchdogTimeout) + Send + Sync>,
}

#[derive(Default)]
struct WatchdogState {
    watched: Option<(Heartbeat, Board)>,
    /// On the clock of [`monotonic::now`].
    deadline: Option<Deadline>,
    disarmed: bool,
}

#[derive(Clone, Copy)]
struct Deadline {
    at: Duration,
    exit_code: u8,
}

/// Why the watchdog fired, and the state of every child.
#[derive(Debug, Clone)]
pub struct WatchdogTimeout {
    /// Why it fired.
    pub cause: TimeoutCause,
    /// One line for each child, parents first.
    pub report: String,
    /// The exit code of the deadline, if one was set; also if the root's thread became unresponsive before the deadline.
    pub exit_code: Option<u8>,
}

/// Why a watchdog fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutCause {
    /// The root's thread had no heartbeat for longer than allowed.
    RootUnresponsive,
    /// The deadline has passed.
    DeadlineMissed,
}

impl Watchdog {
    /// Starts the watchdog. `on_timeout` is called once, on the watchdog's thread, when the root's thread has had no
    /// heartbeat for `stale_after` or a deadline passes. Start it before the actix system; until a root is started
    /// with it, only deadlines count.
    ///
    /// ```
    /// use std::time::Duration;
    /// use caduceus_supervision::Watchdog;
    ///
    /// let watchdog = Watchdog::start(Duration::from_secs(15), |timeout| {
    ///     eprintln!("watchdog: {:?}\n{}", timeout.cause, timeout.report);
    ///     std::process::exit(timeout.exit_code.unwrap_or(75).into());
    /// })?;
    /// // … run the tree …
    /// watchdog.disarm();
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(
        stale_after: Duration,
        on_timeout: impl Fn(WatchdogTimeout) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let on_timeout = Box::new(on_timeout);
        let state = Mutex::default();
        let watchdog = Self(Arc::new(WatchdogShared { stale_after, state, changed: Condvar::new(), on_timeout }));
        let watching = watchdog.clone();
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || watching.run())?;
        Ok(watchdog)
    }

    /// Sets a deadline `length` from now: the watchdog fires with this exit code unless the process has ended or
    /// [`Watchdog::disarm`] was called before. Replaces an earlier deadline.
    pub fn set_deadline(&self, length: Duration, exit_code: u8) {
        self.state().deadline = Some(Deadline { at: monotonic::now() + length, exit_code });
        self.0.changed.notify_all();
    }

    /// Ends the watch; it cannot be resumed.
    pub fn disarm(&self) {
        self.state().disarmed = true;
        self.0.changed.notify_all();
    }

    /// Whether the root's thread had a heartbeat within the allowance. `false` before there is a root.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.state().watched.as_ref().is_some_and(|(heartbeat, _)| heartbeat.age() < self.0.stale_after)
    }

    pub(crate) fn stale_after(&self) -> Duration {
        self.0.stale_after
    }

    pub(crate) fn watch(&self, heartbeat: Heartbeat, board: Board) {
        self.state().watched = Some((heartbeat, board));
    }

    fn run(&self) {
        let mut staleness = Staleness::new(self.0.stale_after, monotonic::now());
        let (cause, deadline) = loop {
            let period = self.0.stale_after / CHECKS;
            let (mut state, _) =
                self.0.changed.wait_timeout(self.state(), period).unwrap_or_else(PoisonError::into_inner);
            if state.disarmed {
                return;
            }
            let now = monotonic::now();
            if let Some(late) = staleness.check(now) {
                // The work of the process was delayed as long as this thread was.
                state.deadline = state.deadline.map(|deadline| Deadline { at: deadline.at + late, ..deadline });
            }
            if state.deadline.is_some_and(|deadline| deadline.at <= now) {
                break (TimeoutCause::DeadlineMissed, state.deadline);
            }
            if state.watched.as_ref().is_some_and(|(heartbeat, _)| staleness.is_stale(heartbeat.last(), now)) {
                break (TimeoutCause::RootUnresponsive, state.deadline);
            }
        };
        let watched = self.state().watched.clone();
        let report = watched.map(|(_, board)| report_in_time(board)).unwrap_or_default();
        let exit_code = deadline.map(|deadline| deadline.exit_code);
        (self.0.on_timeout)(WatchdogTimeout { cause, report, exit_code });
    }

    fn state(&self) -> MutexGuard<'_, WatchdogState> {
        locked(&self.0.state)
    }
}

impl std::fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watchdog").field("stale_after", &self.0.stale_after).finish_non_exhaustive()
    }
}

/// The report, made on a separate thread, which is leaked if it hangs.
fn report_in_time(board: Board) -> String {
    let (done, report_made) = mpsc::channel();
    let started = thread::Builder::new().name("watchdog-report".to_owned()).spawn(move || {
        let _ = done.send(report(&board.snapshot()));
    });
    let made = started.ok().and_then(|_| report_made.recv_timeout(REPORT_TIMEOUT).ok());
    made.unwrap_or_else(|| "the state of the tree cannot be read\n".to_owned())
}

/// The state of every child, one line for each.
fn report(tree: &Tree) -> String {
    let mut lines = String::new();
    for node in tree.walk() {
        let name = if node.path.is_empty() { "root" } else { &node.path };
        // Writing to a string cannot fail.
        let _ = writeln!(
            lines,
            "{name}: {:?}, generation {}, thread {}, heartbeat {} ms ago, {} waiting",
            node.state,
            node.generation,
            node.thread,
            tree.heartbeat_age_ms(node).map_or_else(|| "?".to_owned(), |age| age.to_string()),
            node.queue_depth,
        );
    }
    lines
}
