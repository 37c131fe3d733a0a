//! The whole tree at one moment, and the ages of the heartbeats in it.

use std::io::Write as _;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::incarnation::Incarnation;
use crate::tree_node::{LastHeartbeat, TreeNode};
use crate::worker_thread::WorkerThread;

/// The whole tree at one moment. Cheap to clone. Dereferences to the root.
///
/// The nodes that have not changed since the last reading are shared with it. Ages of heartbeats change all the time; those of most
/// nodes are that of their thread, which is here once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The root.
    pub root: Arc<TreeNode>,
    /// Name of each thread on which a child runs, and the age of its heartbeat in milliseconds.
    pub threads: Vec<(String, u64)>,
}

impl Tree {
    /// Milliseconds since the last heartbeat of `node`, when the tree was read; `None` if it does not run.
    #[must_use]
    pub fn heartbeat_age_ms(&self, node: &TreeNode) -> Option<u64> {
        match node.heartbeat? {
            LastHeartbeat::Ago(age) => Some(age),
            LastHeartbeat::OfThread => self.threads.iter().find(|(name, _)| *name == node.thread).map(|(_, age)| *age),
        }
    }

    /// Appends the whole tree as JSON. Renders the nodes that were not rendered before, and copies the text of the others.
    ///
    /// # Errors
    /// If a node has no JSON form, a bug.
    pub fn write_json(&self, to: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        self.write_node(&self.root, to)
    }

    fn write_node(&self, node: &TreeNode, to: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let own = node.json.of(node)?;
        to.extend_from_slice(own.strip_suffix('}').unwrap_or(own).as_bytes());
        match self.heartbeat_age_ms(node) {
            Some(age) => write!(to, ",\"heartbeat_age_ms\":{age},\"children\":[").map_err(serde_json::Error::io)?,
            None => to.extend_from_slice(b",\"heartbeat_age_ms\":null,\"children\":["),
        }
        for (at, child) in node.children.iter().enumerate() {
            if at > 0 {
                to.push(b',');
            }
            self.write_node(child, to)?;
        }
        to.extend_from_slice(b"]}");
        Ok(())
    }
}

impl Deref for Tree {
    type Target = TreeNode;

    fn deref(&self) -> &TreeNode {
        &self.root
    }
}

/// The ages of heartbeats at the moment of one reading.
pub(crate) struct HeartbeatAges {
    now: Duration,
    threads: Vec<ThreadAge>,
}

/// A thread that was looked at, and the last heartbeat of its current incarnation.
struct ThreadAge {
    thread: WorkerThread,
    /// Number of the incarnation, and the age of its heartbeat in milliseconds; `None` if there is none.
    current: Option<(u64, u64)>,
    /// No thread before it has its name.
    is_first: bool,
}

impl HeartbeatAges {
    pub(crate) fn at(now: Duration) -> Self {
        Self { now, threads: Vec::new() }
    }

    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// The last heartbeat of `incarnation`, which runs on the thread of this `number`. While no answer of it is awaited, it runs as its
    /// thread does.
    pub(crate) fn of(&mut self, incarnation: &Incarnation, thread: &WorkerThread, number: u64) -> LastHeartbeat {
        if let Some(since) = incarnation.heartbeat().awaited_since() {
            return LastHeartbeat::Ago(millis(self.now.saturating_sub(since)));
        }
        let thread = self.thread(thread);
        match thread.current.filter(|(current, _)| *current == number) {
            Some(_) if thread.is_first => LastHeartbeat::OfThread,
            Some((_, age)) => LastHeartbeat::Ago(age),
            None => LastHeartbeat::Ago(0),
        }
    }

    fn thread(&mut self, thread: &WorkerThread) -> &ThreadAge {
        let at = self.threads.iter().position(|known| known.thread.same(thread)).unwrap_or_else(|| {
            let beat = thread.heartbeat();
            let current = beat.map(|(number, beat)| (number, millis(self.now.saturating_sub(beat.last()))));
            let is_first = self.threads.iter().all(|known| known.thread.name() != thread.name());
            self.threads.push(ThreadAge { thread: thread.clone(), current, is_first });
            self.threads.len() - 1
        });
        &self.threads[at]
    }

    /// Name and age of each thread.
    pub(crate) fn into_threads(self) -> Vec<(String, u64)> {
        let named = self.threads.iter().filter(|known| known.is_first);
        named.filter_map(|known| Some((known.thread.name().to_owned(), known.current?.1))).collect()
    }
}

/// Milliseconds of `length`.
pub(crate) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
