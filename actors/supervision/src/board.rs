//! The state of the whole tree, readable at any time, also while an actor, a supervisor or a thread hangs.
//!
//! There is one cell per child, written by its supervisor only. No code of an actor runs while a cell is locked, so an actor that
//! hangs holds no lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use crate::actor_heartbeat::ActorHeartbeat;
use crate::child_event::ChildEvent;
use crate::control::ControlHandle;
use crate::exit::ExitReason;
use crate::gauge::Gauge;
use crate::incarnation::Incarnation;
use crate::locked::locked;
use crate::monotonic;
use crate::tree_node::{ChildKind, ChildState, LastExit, RemovedCounts, TreeNode};
use crate::tree_version::TreeVersion;
use crate::worker_thread::WorkerThread;

/// A view of the whole tree. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Board {
    root: Arc<StatusCell>,
}

/// The record of one child.
#[derive(Debug)]
pub(crate) struct StatusCell {
    id: String,
    path: String,
    kind: ChildKind,
    thread: String,
    gauge: Arc<Gauge>,
    status: Mutex<ChildStatus>,
    children: Mutex<ChildCells>,
    removed: Mutex<RemovedCounts>,
    version: Arc<TreeVersion>,
}

/// The cells of one supervisor's children, in the order in which they were added.
#[derive(Debug, Default)]
struct ChildCells {
    next: u64,
    by_number: BTreeMap<u64, Arc<StatusCell>>,
    by_id: HashMap<String, u64>,
}

impl ChildCells {
    fn get(&self, id: &str) -> Option<&Arc<StatusCell>> {
        self.by_number.get(self.by_id.get(id)?)
    }

    fn add(&mut self, cell: Arc<StatusCell>) {
        self.next += 1;
        self.by_id.insert(cell.id.clone(), self.next);
        self.by_number.insert(self.next, cell);
    }

    fn remove(&mut self, id: &str) -> Option<Arc<StatusCell>> {
        self.by_number.remove(&self.by_id.remove(id)?)
    }

    /// A copy, so that no lock is held while the cells below are read.
    fn all(&self) -> Vec<Arc<StatusCell>> {
        self.by_number.values().cloned().collect()
    }
}

#[derive(Debug)]
pub(crate) struct ChildStatus {
    pub(crate) state: ChildState,
    pub(crate) generation: u64,
    /// Times of the counted restarts, and the sliding window.
    pub(crate) recent: Vec<Duration>,
    pub(crate) window: Duration,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) last_exit: Option<(ExitReason, Timestamp)>,
    /// When the backoff is over.
    pub(crate) due: Option<Duration>,
    pub(crate) running: Option<RunningChild>,
}

/// A running incarnation, for the check of heartbeats.
#[derive(Debug, Clone)]
pub(crate) struct RunningChild {
    pub(crate) run: u64,
    pub(crate) incarnation: Incarnation,
    pub(crate) control: ControlHandle,
    pub(crate) heartbeat: ActorHeartbeat,
    pub(crate) worker_thread: WorkerThread,
    /// Distinguishes the threads of one name.
    pub(crate) thread_number: u64,
    pub(crate) permanent: bool,
    pub(crate) events: UnboundedSender<ChildEvent>,
}

impl RunningChild {
    /// Time since the incarnation last proved that it runs: while no request is open, it runs as its thread does.
    pub(crate) fn heartbeat_age(&self, now: Duration) -> Duration {
        let thread = || self.worker_thread.heartbeat().filter(|(number, _)| *number == self.thread_number);
        let last = self.heartbeat.requested().or_else(|| thread().map(|(_, heartbeat)| heartbeat.last()));
        now.saturating_sub(last.unwrap_or(now))
    }
}

impl Board {
    pub(crate) fn new(root: Arc<StatusCell>) -> Self {
        Self { root }
    }

    /// The whole tree as it is now. Callable from any thread.
    #[must_use]
    pub fn snapshot(&self) -> TreeNode {
        self.root.node(monotonic::now())
    }

    /// A counter that increases with each change of state while someone waits for it. For tests and short waits: each change wakes
    /// the caller. See [`Board::on_change`].
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.root.version.subscribe()
    }

    /// Number of changes of state so far; [`Board::changes`] counts apart.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.root.version.number()
    }

    /// Calls `notify` after every change from now on, on the thread that made it, which must not wait. Only the first call counts.
    pub fn on_change(&self, notify: impl Fn() + Send + Sync + 'static) {
        self.root.version.on_change(notify);
    }

    /// All running incarnations.
    pub(crate) fn running_children(&self) -> Vec<RunningChild> {
        let mut found = Vec::new();
        self.visit_running(&mut |child| found.push(child.clone()));
        found
    }

    /// Calls `visit` with every running incarnation. It must not use the board.
    pub(crate) fn visit_running(&self, visit: &mut dyn FnMut(&RunningChild)) {
        self.root.visit_running(visit);
    }
}

impl StatusCell {
    pub(crate) fn root(gauge: Arc<Gauge>) -> Arc<Self> {
        let version = Arc::default();
        Arc::new(Self::with("root".to_owned(), String::new(), ChildKind::Supervisor, "root".to_owned(), gauge, version))
    }

    fn with(
        id: String,
        path: String,
        kind: ChildKind,
        thread: String,
        gauge: Arc<Gauge>,
        version: Arc<TreeVersion>,
    ) -> Self {
        let status = ChildStatus {
            state: ChildState::Starting,
            generation: 0,
            recent: Vec::new(),
            window: Duration::ZERO,
            started_at: None,
            last_exit: None,
            due: None,
            running: None,
        };
        let (status, children) = (Mutex::new(status), Mutex::default());
        Self { id, path, kind, thread, gauge, status, children, removed: Mutex::default(), version }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The cell of a child. A cell left by an earlier incarnation of the supervisor is reused, with its counts.
    pub(crate) fn child(&self, id: &str, kind: ChildKind, thread: &str, gauge: &Arc<Gauge>) -> Arc<StatusCell> {
        let mut children = locked(&self.children);
        let same = |cell: &&Arc<StatusCell>| cell.kind == kind && Arc::ptr_eq(&cell.gauge, gauge);
        if let Some(cell) = children.get(id).filter(same) {
            return Arc::clone(cell);
        }
        let other = children.remove(id);
        let path = if self.path.is_empty() { id.to_owned() } else { format!("{}/{id}", self.path) };
        let cell = Arc::new(Self::with(
            id.to_owned(),
            path,
            kind,
            thread.to_owned(),
            Arc::clone(gauge),
            Arc::clone(&self.version),
        ));
        children.add(Arc::clone(&cell));
        drop(children);
        if let Some(other) = other {
            self.count_removed(&other);
        }
        cell
    }

    /// Removes the children that `keep` does not accept.
    pub(crate) fn retain(&self, keep: impl Fn(&str) -> bool) {
        let children = locked(&self.children).all();
        for child in children.iter().filter(|child| !keep(&child.id)) {
            self.remove(child);
        }
        self.version.changed();
    }

    /// Removes a child. A newer one of the same id stays.
    pub(crate) fn remove(&self, child: &Arc<Self>) {
        let removed = {
            let mut children = locked(&self.children);
            let is_there = children.get(&child.id).is_some_and(|found| Arc::ptr_eq(found, child));
            if is_there { children.remove(&child.id) } else { None }
        };
        if let Some(removed) = removed {
            self.count_removed(&removed);
        }
        self.version.changed();
    }

    fn count_removed(&self, child: &Self) {
        let counts = child.totals();
        let mut removed = locked(&self.removed);
        removed.restarts += counts.restarts;
        removed.refused += counts.refused;
    }

    /// Changes the status, and notifies the subscribers.
    pub(crate) fn write(&self, change: impl FnOnce(&mut ChildStatus)) {
        change(&mut locked(&self.status));
        self.version.changed();
    }

    /// The counts of this child and of those below it.
    fn totals(&self) -> RemovedCounts {
        let children = locked(&self.children).all();
        let own = RemovedCounts {
            restarts: locked(&self.status).generation.saturating_sub(1),
            refused: self.gauge.refused(),
        };
        let below = children.iter().map(|child| child.totals()).chain([*locked(&self.removed)]);
        below.fold(own, |sum, more| RemovedCounts {
            restarts: sum.restarts + more.restarts,
            refused: sum.refused + more.refused,
        })
    }

    fn visit_running(&self, visit: &mut dyn FnMut(&RunningChild)) {
        if let Some(child) = &locked(&self.status).running {
            visit(child);
        }
        for child in locked(&self.children).all() {
            child.visit_running(visit);
        }
    }

    fn node(&self, now: Duration) -> TreeNode {
        let children = locked(&self.children).all();
        let children = children.iter().map(|child| child.node(now)).collect();
        let status = locked(&self.status);
        let in_window = |at: &&Duration| now.saturating_sub(**at) < status.window;
        TreeNode {
            id: self.id.clone(),
            path: self.path.clone(),
            kind: self.kind,
            state: status.state,
            generation: status.generation,
            restarts_in_window: status.recent.iter().filter(in_window).count(),
            restarts_total: status.generation.saturating_sub(1),
            started_at: status.started_at.map(|at| at.to_string()),
            last_exit: status.last_exit.as_ref().map(|(reason, at)| LastExit {
                word: reason.word().to_owned(),
                text: reason.to_string(),
                at: at.to_string(),
            }),
            queue_depth: self.gauge.waiting(),
            refused: self.gauge.refused(),
            next_restart_in_ms: status.due.map(|due| millis(due.saturating_sub(now))),
            heartbeat_age_ms: status.running.as_ref().map(|running| millis(running.heartbeat_age(now))),
            thread: self.thread.clone(),
            children,
            removed: *locked(&self.removed),
        }
    }
}

/// The time of day, truncated to milliseconds.
pub(crate) fn wall_clock() -> Timestamp {
    let now = Timestamp::now();
    // Truncated: a time rounded to the nearest may be in the future.
    let to_millis = TimestampRound::new().smallest(Unit::Millisecond).mode(RoundMode::Trunc);
    now.round(to_millis).unwrap_or(now)
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
