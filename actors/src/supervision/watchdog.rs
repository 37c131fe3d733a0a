//! A plain OS thread that watches the root's thread and, during the shutdown, the clock.
//!
//! It needs nothing of what it watches: no runtime, no channel. When it fires it writes where everyone was and ends
//! the process, so that the service manager starts a new one.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::board::{Board, TreeNode};
use super::pulse::Pulse;
use super::watch::Lookout;

/// The exit code when the watchdog fires: worth another try.
const EXIT_CODE: i32 = 75;

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
    deadline: Option<Instant>,
    disarmed: bool,
}

/// Why the watchdog fired, and where everyone was.
#[derive(Debug, Clone)]
pub struct Bite {
    /// What was too late.
    pub cause: Cause,
    /// One line for each child, parents first.
    pub report: String,
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
    /// Starts the watchdog. It bites when the root's thread is silent for `stale_after`: it writes the report to
    /// stderr and exits with 75. Arm it before the actix system starts; until a root is given to it, it only waits.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn arm(stale_after: Duration) -> io::Result<Self> {
        Self::arm_with(stale_after, |bite| {
            let mut stderr = io::stderr();
            let _ = writeln!(stderr, "watchdog: {:?}, exit {EXIT_CODE}\n{}", bite.cause, bite.report);
            std::process::exit(EXIT_CODE);
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

    /// Bites unless the process is gone, or [`Watchdog::disarm`]ed, within `length` from now. An earlier deadline
    /// is replaced.
    pub fn arm_deadline(&self, length: Duration) {
        self.state().deadline = Some(Instant::now() + length);
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
        let cause = loop {
            let period = self.0.stale_after / LOOKS;
            let (mut state, _) =
                self.0.changed.wait_timeout(self.state(), period).unwrap_or_else(PoisonError::into_inner);
            if state.disarmed {
                return;
            }
            let now = Instant::now();
            if let Some(late) = lookout.look(now) {
                // Whoever was to meet the deadline was held up as long as we were.
                state.deadline = state.deadline.map(|deadline| deadline + late);
            }
            if state.deadline.is_some_and(|deadline| deadline <= now) {
                break Cause::DeadlineMissed;
            }
            if state.charge.as_ref().is_some_and(|(pulse, _)| lookout.is_stale(pulse.last(), now)) {
                break Cause::RootSilent;
            }
        };
        let charge = self.state().charge.clone();
        (self.0.bite)(Bite { cause, report: charge.map(|(_, board)| report(&board.snapshot())).unwrap_or_default() });
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
