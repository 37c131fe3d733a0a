//! The state of the whole tree, readable at any time, also while an actor, a supervisor or a thread hangs.
//!
//! There is one cell per child, written by its supervisor only. No code of an actor runs while a cell is locked, so an actor that
//! hangs holds no lock.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use crate::child_event::ChildEvent;
use crate::child_path::ChildPath;
use crate::exit::ExitReason;
use crate::incarnation::Incarnation;
use crate::locked::locked;
use crate::mailbox::AnyMailbox;
use crate::monotonic;
use crate::plan::{ChildKey, ChildKeys, ChildSlots, RunId};
use crate::rendered_json::RenderedJson;
use crate::tree::{HeartbeatAges, Tree, millis};
use crate::tree_node::{ChildKind, ChildState, LastExit, LastHeartbeat, RemovedCounts, TreeNode};
use crate::tree_version::TreeVersion;
use crate::worker_thread::WorkerThread;

/// A view of the whole tree. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Board {
    root: Arc<StatusCell>,
}

/// The record of one child.
pub(crate) struct StatusCell {
    path: ChildPath,
    /// Its key among its siblings, which a later incarnation of their supervisor does not change.
    key: ChildKey,
    kind: ChildKind,
    worker_thread: WorkerThread,
    mailbox: Arc<dyn AnyMailbox>,
    status: Mutex<ChildStatus>,
    children: Mutex<ChildCells>,
    removed: Mutex<RemovedCounts>,
    version: Arc<TreeVersion>,
}

/// The cells of one supervisor's children. A later one has a higher key.
#[derive(Debug, Default)]
struct ChildCells {
    next: u64,
    keys: ChildKeys,
    cells: ChildSlots<Arc<StatusCell>>,
    /// The cells in the order of their keys, until one is added or removed.
    ordered: Option<Arc<[Arc<StatusCell>]>>,
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
    /// The node as last read, until the status changes.
    node: Option<(NodeCounts, Arc<TreeNode>)>,
}

/// What a node has that changes without a change of the status. Beside the status, so that a reading touches no node that is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NodeCounts {
    queue_depth: usize,
    refused: u64,
    removed: RemovedCounts,
    restarts_in_window: usize,
    next_restart_in_ms: Option<u64>,
    heartbeat: Option<LastHeartbeat>,
}

/// A running incarnation, for the check of heartbeats.
#[derive(Debug, Clone)]
pub(crate) struct RunningChild {
    pub(crate) run: RunId,
    pub(crate) incarnation: Incarnation,
    pub(crate) worker_thread: WorkerThread,
    /// Distinguishes the threads of one name.
    pub(crate) thread_number: u64,
    pub(crate) permanent: bool,
    pub(crate) events: UnboundedSender<ChildEvent>,
}

impl RunningChild {
    /// Time since the incarnation last proved that it runs: while no answer of it is awaited, it runs as its thread does.
    pub(crate) fn heartbeat_age(&self, now: Duration) -> Duration {
        let thread = || self.worker_thread.heartbeat().filter(|(number, _)| *number == self.thread_number);
        let last =
            self.incarnation.heartbeat().awaited_since().or_else(|| thread().map(|(_, heartbeat)| heartbeat.last()));
        now.saturating_sub(last.unwrap_or(now))
    }
}

impl Board {
    pub(crate) fn new(root: Arc<StatusCell>) -> Self {
        Self { root }
    }

    /// The whole tree as it is now. Callable from any thread. Looks at every child, and makes the nodes of those that have changed
    /// since the last call, and of their supervisors.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "there is no node before it that could be the same")]
    pub fn snapshot(&self) -> Tree {
        let mut ages = HeartbeatAges::at(monotonic::now());
        let root = self.root.node(None, &mut ages).expect("there is no node before it that could be the same");
        Tree { root, threads: ages.into_threads() }
    }

    /// The states of the children of the root. Costs the same whatever is below them.
    #[must_use]
    pub fn states_of_children(&self) -> Vec<ChildState> {
        self.root.all_children().iter().map(|child| locked(&child.status).state).collect()
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
    pub(crate) fn root(mailbox: Arc<dyn AnyMailbox>, thread: &WorkerThread) -> Arc<Self> {
        Arc::new(Self::with(
            ChildPath::root(),
            ChildKey::NONE,
            ChildKind::Supervisor,
            thread.clone(),
            mailbox,
            Arc::default(),
        ))
    }

    fn with(
        path: ChildPath,
        key: ChildKey,
        kind: ChildKind,
        worker_thread: WorkerThread,
        mailbox: Arc<dyn AnyMailbox>,
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
            node: None,
        };
        let (status, children) = (Mutex::new(status), Mutex::default());
        Self { path, key, kind, worker_thread, mailbox, status, children, removed: Mutex::default(), version }
    }

    pub(crate) fn path(&self) -> &str {
        self.path.as_str()
    }

    pub(crate) fn child_path(&self) -> &ChildPath {
        &self.path
    }

    /// The cells of the children, by id. For a new incarnation of their supervisor.
    pub(crate) fn children_by_id(&self) -> HashMap<Arc<str>, Arc<StatusCell>> {
        self.all_children().iter().map(|cell| (Arc::clone(cell.path.id()), Arc::clone(cell))).collect()
    }

    /// The cell of a child that is added. One left by an earlier incarnation of the supervisor is used again, with its counts,
    /// unless it is of another child.
    pub(crate) fn child(
        &self,
        path: ChildPath,
        kind: ChildKind,
        thread: &WorkerThread,
        mailbox: Arc<dyn AnyMailbox>,
        left: Option<Arc<Self>>,
    ) -> Arc<Self> {
        if let Some(left) = left {
            // The address of its counts identifies a mailbox.
            if left.kind == kind && std::ptr::eq(left.mailbox.gauge(), mailbox.gauge()) {
                return left;
            }
            self.remove(&left);
        }
        let mut children = locked(&self.children);
        children.next += 1;
        let number = children.next;
        let key = children.keys.allocate(number);
        let cell = Self::with(path, key, kind, thread.clone(), mailbox, Arc::clone(&self.version));
        let cell = Arc::new(cell);
        children.cells.put(key, Arc::clone(&cell));
        children.ordered = None;
        cell
    }

    /// Removes a child.
    pub(crate) fn remove(&self, child: &Self) {
        let removed = {
            let mut children = locked(&self.children);
            let removed = children.cells.remove(child.key);
            if removed.is_some() {
                children.keys.release(child.key);
                children.ordered = None;
            }
            removed
        };
        if let Some(removed) = removed {
            let counts = removed.totals();
            let mut removed = locked(&self.removed);
            removed.restarts += counts.restarts;
            removed.refused += counts.refused;
        }
    }

    /// Refuses the messages to a child that is not started again.
    pub(crate) fn close_mailbox(&self) {
        self.mailbox.close();
    }

    /// Changes the status. Followed by [`StatusCell::notify`], once for all changes made together.
    pub(crate) fn write<R>(&self, change: impl FnOnce(&mut ChildStatus) -> R) -> R {
        let mut status = locked(&self.status);
        status.node = None;
        change(&mut status)
    }

    /// Notifies the subscribers of the tree of changes in this cell, or in those below it.
    pub(crate) fn notify(&self) {
        self.version.changed();
    }

    /// A copy, so that no lock is held while the cells below are read, in the order in which they were added.
    fn all_children(&self) -> Arc<[Arc<Self>]> {
        let mut children = locked(&self.children);
        let ChildCells { cells, ordered, .. } = &mut *children;
        let ordered = ordered.get_or_insert_with(|| {
            let mut cells: Vec<_> = cells.values().cloned().collect();
            cells.sort_unstable_by_key(|cell| cell.key);
            cells.into()
        });
        Arc::clone(ordered)
    }

    /// The counts of this child and of those below it.
    fn totals(&self) -> RemovedCounts {
        let children = self.all_children();
        let own = RemovedCounts {
            restarts: locked(&self.status).generation.saturating_sub(1),
            refused: self.mailbox.gauge().refused(),
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
        for child in self.children_of_supervisor().iter() {
            child.visit_running(visit);
        }
    }

    /// See [`StatusCell::all_children`]. A worker has none, and no list is made for it.
    fn children_of_supervisor(&self) -> Arc<[Arc<Self>]> {
        match self.kind {
            ChildKind::Supervisor => self.all_children(),
            ChildKind::Worker => Arc::default(),
        }
    }

    /// The node of now; `None` if it is `before`.
    fn node(&self, before: Option<&Arc<TreeNode>>, ages: &mut HeartbeatAges) -> Option<Arc<TreeNode>> {
        let last = match self.kind {
            ChildKind::Supervisor => locked(&self.status).node.as_ref().map(|(_, node)| Arc::clone(node)),
            ChildKind::Worker => None,
        };
        let below = self.nodes_below(last.as_ref().map_or(&[], |node| &node.children), ages);
        let (now, removed) = (ages.now(), *locked(&self.removed));
        let mut status = locked(&self.status);
        let in_window = |at: &&Duration| now.saturating_sub(**at) < status.window;
        let running = status.running.as_ref();
        let counts = NodeCounts {
            queue_depth: self.mailbox.gauge().waiting(),
            refused: self.mailbox.gauge().refused(),
            removed,
            restarts_in_window: status.recent.iter().filter(in_window).count(),
            next_restart_in_ms: status.due.map(|due| millis(due.saturating_sub(now))),
            heartbeat: running.map(|child| ages.of(&child.incarnation, &child.worker_thread, child.thread_number)),
        };
        if below.is_none()
            && let Some((shown, node)) = &status.node
            && *shown == counts
        {
            let is_before = before.is_some_and(|before| Arc::ptr_eq(before, node));
            return (!is_before).then(|| Arc::clone(node));
        }
        let node = Arc::new(TreeNode {
            id: self.path.id().to_string(),
            path: self.path().to_owned(),
            kind: self.kind,
            state: status.state,
            generation: status.generation,
            restarts_in_window: counts.restarts_in_window,
            restarts_total: status.generation.saturating_sub(1),
            started_at: status.started_at.map(|at| at.to_string()),
            last_exit: status.last_exit.as_ref().map(|(reason, at)| LastExit {
                word: reason.word().to_owned(),
                text: reason.to_string(),
                at: at.to_string(),
            }),
            queue_depth: counts.queue_depth,
            refused: counts.refused,
            next_restart_in_ms: counts.next_restart_in_ms,
            heartbeat: counts.heartbeat,
            thread: self.worker_thread.name().to_owned(),
            children: below.or_else(|| Some(last?.children.clone())).unwrap_or_default(),
            removed,
            json: RenderedJson::default(),
        });
        status.node = Some((counts, Arc::clone(&node)));
        Some(node)
    }

    /// The nodes of the children; `None` if they are those of `before`.
    fn nodes_below(&self, before: &[Arc<TreeNode>], ages: &mut HeartbeatAges) -> Option<Vec<Arc<TreeNode>>> {
        let cells = self.children_of_supervisor();
        let mut nodes = (cells.len() != before.len()).then(Vec::new);
        for (place, cell) in cells.iter().enumerate() {
            match (&mut nodes, cell.node(before.get(place), ages)) {
                (None, None) => {}
                (None, Some(node)) => nodes = Some(before[..place].iter().cloned().chain([node]).collect()),
                (Some(nodes), None) => nodes.extend(before.get(place).cloned()),
                (Some(nodes), Some(node)) => nodes.push(node),
            }
        }
        nodes
    }
}

impl fmt::Debug for StatusCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusCell").field("path", &self.path()).field("status", &self.status).finish_non_exhaustive()
    }
}

/// The time of day, truncated to milliseconds: a time rounded to the nearest may be in the future.
pub(crate) fn wall_clock() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
