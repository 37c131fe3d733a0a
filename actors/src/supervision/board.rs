//! What everyone may know of the tree at any time, also while an actor, a supervisor or a thread hangs.
//!
//! One cell for each child, written by its supervisor alone. No code of an actor runs under a cell's lock, so no
//! hung actor can hold one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use serde::Serialize;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::exit::ExitReason;
use super::lane::Lane;
use super::leash::Leash;
use super::life::Life;
use super::mailbox::Gauge;
use super::pulse::Pulse;
use super::runner::News;

/// A window on the whole tree. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Board {
    root: Arc<Cell>,
}

/// One child and those below it, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TreeNode {
    /// Id among its siblings.
    pub id: String,
    /// Ids from the root's child down, joined by slashes; empty for the root.
    pub path: String,
    /// Supervisor or worker.
    pub kind: Kind,
    /// What it is doing.
    pub state: ChildState,
    /// Counts its incarnations, from 1; 0 before the first.
    pub generation: u64,
    /// Restarts that count against its budget now.
    pub restarts_in_window: usize,
    /// Restarts since the process started.
    pub restarts_total: u64,
    /// When the present incarnation, or the last, was started; RFC 3339 in UTC.
    pub started_at: Option<String>,
    /// How the incarnation before ended.
    pub last_exit: Option<LastExit>,
    /// Messages that wait in its mailbox.
    pub queue_depth: usize,
    /// Messages refused because the mailbox was full.
    pub refused: u64,
    /// Time left of its backoff.
    pub next_restart_in_ms: Option<u64>,
    /// Time since the running incarnation last showed life.
    pub heartbeat_age_ms: Option<u64>,
    /// Name of the thread it lives on.
    pub lane: String,
    /// Its children, in the order in which they start.
    pub children: Vec<TreeNode>,
    /// What children that are no longer in the tree had counted: a total over the tree never shrinks.
    #[serde(skip)]
    pub departed: Departed,
}

/// Counts of children that were removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Departed {
    /// Their restarts.
    pub restarts: u64,
    /// Messages that their full mailboxes refused.
    pub refused: u64,
}

/// How an incarnation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastExit {
    /// Stable word, see [`ExitReason::word`].
    pub word: String,
    /// One line for the operator.
    pub text: String,
    /// When, RFC 3339 in UTC.
    pub at: String,
}

/// What a node of the tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Has children.
    Supervisor,
    /// Does work.
    Worker,
}

/// What a child is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildState {
    /// Waits for its turn to start, or has not said yet that it is ready.
    Starting,
    /// At work.
    Running,
    /// Waits to be restarted.
    Backoff,
    /// Asked to stop.
    Stopping,
    /// Down for good, or until an operator starts it.
    Stopped,
    /// Parked: its restarts are spent or cannot help.
    Failed,
}

/// Where one child is written down.
#[derive(Debug)]
pub(super) struct Cell {
    id: String,
    path: String,
    kind: Kind,
    lane: String,
    gauge: Arc<Gauge>,
    vitals: Mutex<Vitals>,
    children: Mutex<Vec<Arc<Cell>>>,
    departed: Mutex<Departed>,
    version: watch::Sender<u64>,
}

#[derive(Debug)]
pub(super) struct Vitals {
    pub(super) state: ChildState,
    pub(super) generation: u64,
    /// Restarts on the slate and the window they are judged by.
    pub(super) recent: Vec<Instant>,
    pub(super) window: Duration,
    pub(super) started_at: Option<Timestamp>,
    pub(super) last_exit: Option<(ExitReason, Timestamp)>,
    pub(super) due: Option<Instant>,
    pub(super) posting: Option<Posting>,
}

/// A running incarnation, for whoever looks after heartbeats.
#[derive(Debug, Clone)]
pub(super) struct Posting {
    pub(super) run: u64,
    pub(super) life: Life,
    pub(super) leash: Leash,
    pub(super) pulse: Pulse,
    pub(super) lane: Lane,
    /// Which thread of the lane.
    pub(super) thread: u64,
    pub(super) permanent: bool,
    pub(super) news: UnboundedSender<News>,
}

impl Board {
    pub(super) fn new(root: Arc<Cell>) -> Self {
        Self { root }
    }

    /// The whole tree as it is now. Callable from any thread.
    #[must_use]
    pub fn snapshot(&self) -> TreeNode {
        self.root.node(Instant::now())
    }

    /// A counter that grows with each change of state.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.root.version.subscribe()
    }

    /// All running incarnations.
    pub(super) fn postings(&self) -> Vec<Posting> {
        let mut found = Vec::new();
        self.root.collect(&mut found);
        found
    }
}

impl TreeNode {
    /// This node and those below it, parents first.
    pub fn walk(&self) -> impl Iterator<Item = &TreeNode> {
        let mut left = vec![self];
        std::iter::from_fn(move || {
            let node = left.pop()?;
            left.extend(node.children.iter().rev());
            Some(node)
        })
    }

    /// The node at `path`, if there is one.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&TreeNode> {
        self.walk().find(|node| node.path == path)
    }
}

impl Cell {
    pub(super) fn root(gauge: Arc<Gauge>) -> Arc<Self> {
        let version = watch::Sender::new(0);
        Arc::new(Self::with("root".to_owned(), String::new(), Kind::Supervisor, "root".to_owned(), gauge, version))
    }

    fn with(
        id: String,
        path: String,
        kind: Kind,
        lane: String,
        gauge: Arc<Gauge>,
        version: watch::Sender<u64>,
    ) -> Self {
        let vitals = Vitals {
            state: ChildState::Starting,
            generation: 0,
            recent: Vec::new(),
            window: Duration::ZERO,
            started_at: None,
            last_exit: None,
            due: None,
            posting: None,
        };
        let (vitals, children) = (Mutex::new(vitals), Mutex::default());
        Self { id, path, kind, lane, gauge, vitals, children, departed: Mutex::default(), version }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The cell of a child. One left by an earlier incarnation of the supervisor is used on, with its counts.
    pub(super) fn child(&self, id: &str, kind: Kind, lane: &str, gauge: &Arc<Gauge>) -> Arc<Cell> {
        let mut children = locked(&self.children);
        let same = |cell: &&Arc<Cell>| cell.id == id && cell.kind == kind && Arc::ptr_eq(&cell.gauge, gauge);
        if let Some(cell) = children.iter().find(same) {
            return Arc::clone(cell);
        }
        let path = if self.path.is_empty() { id.to_owned() } else { format!("{}/{id}", self.path) };
        let cell =
            Arc::new(Self::with(id.to_owned(), path, kind, lane.to_owned(), Arc::clone(gauge), self.version.clone()));
        children.push(Arc::clone(&cell));
        cell
    }

    /// Forgets the children that `keep` does not want.
    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool) {
        let mut departed = locked(&self.departed);
        locked(&self.children).retain(|child| {
            let kept = keep(&child.id);
            if !kept {
                let gone = child.totals();
                departed.restarts += gone.restarts;
                departed.refused += gone.refused;
            }
            kept
        });
        drop(departed);
        self.bump();
    }

    /// Writes, and tells those who watch.
    pub(super) fn write(&self, change: impl FnOnce(&mut Vitals)) {
        change(&mut locked(&self.vitals));
        self.bump();
    }

    fn bump(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// What this child and those below it have counted.
    fn totals(&self) -> Departed {
        let children = locked(&self.children).clone();
        let own =
            Departed { restarts: locked(&self.vitals).generation.saturating_sub(1), refused: self.gauge.refused() };
        let below = children.iter().map(|child| child.totals()).chain([*locked(&self.departed)]);
        below.fold(own, |sum, more| Departed {
            restarts: sum.restarts + more.restarts,
            refused: sum.refused + more.refused,
        })
    }

    fn collect(&self, into: &mut Vec<Posting>) {
        into.extend(locked(&self.vitals).posting.clone());
        for child in locked(&self.children).clone() {
            child.collect(into);
        }
    }

    fn node(&self, now: Instant) -> TreeNode {
        let children = locked(&self.children).clone();
        let children = children.iter().map(|child| child.node(now)).collect();
        let vitals = locked(&self.vitals);
        let in_window = |at: &&Instant| now.saturating_duration_since(**at) < vitals.window;
        TreeNode {
            id: self.id.clone(),
            path: self.path.clone(),
            kind: self.kind,
            state: vitals.state,
            generation: vitals.generation,
            restarts_in_window: vitals.recent.iter().filter(in_window).count(),
            restarts_total: vitals.generation.saturating_sub(1),
            started_at: vitals.started_at.map(|at| at.to_string()),
            last_exit: vitals.last_exit.as_ref().map(|(reason, at)| LastExit {
                word: reason.word().to_owned(),
                text: reason.to_string(),
                at: at.to_string(),
            }),
            queue_depth: self.gauge.waiting(),
            refused: self.gauge.refused(),
            next_restart_in_ms: vitals.due.map(|due| millis(due.saturating_duration_since(now))),
            heartbeat_age_ms: vitals.posting.as_ref().map(|posting| millis(posting.pulse.age())),
            lane: self.lane.clone(),
            children,
            departed: *locked(&self.departed),
        }
    }
}

/// The time of day, to the millisecond: nobody reads more from a status.
pub(super) fn wall_clock() -> Timestamp {
    let now = Timestamp::now();
    // Not to the nearest, which may lie ahead.
    let to_millis = TimestampRound::new().smallest(Unit::Millisecond).mode(RoundMode::Trunc);
    now.round(to_millis).unwrap_or(now)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
