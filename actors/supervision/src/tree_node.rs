//! One child of the tree at one moment, as data.

use std::sync::Arc;

use serde::Serialize;

use crate::rendered_json::RenderedJson;

/// One child and those below it, at one moment. A node that has not changed is the same allocation in the next reading of the tree.
///
/// Its `Serialize` writes its own fields only; [`Tree::write_json`](crate::Tree::write_json) adds the age of its heartbeat and its
/// children, which change while the others do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TreeNode {
    /// Id among its siblings.
    pub id: String,
    /// Ids from the root's child down, joined by slashes; empty for the root.
    pub path: String,
    /// Supervisor or worker.
    pub kind: ChildKind,
    /// The stage of its lifecycle.
    pub state: ChildState,
    /// Counts its incarnations, from 1; 0 before the first.
    pub generation: u64,
    /// Restarts that count against its restart intensity now.
    pub restarts_in_window: usize,
    /// Restarts since the process started.
    pub restarts_total: u64,
    /// When the current or last incarnation was started; RFC 3339 in UTC.
    pub started_at: Option<String>,
    /// How the previous incarnation ended.
    pub last_exit: Option<LastExit>,
    /// Messages that wait in its mailbox.
    pub queue_depth: usize,
    /// Messages refused because the mailbox was full.
    pub refused: u64,
    /// Time left of its backoff.
    pub next_restart_in_ms: Option<u64>,
    /// The last heartbeat of the running incarnation; [`Tree::heartbeat_age_ms`](crate::Tree::heartbeat_age_ms) has its age.
    #[serde(skip)]
    pub heartbeat: Option<LastHeartbeat>,
    /// Name of the thread it runs on.
    #[serde(rename = "lane")]
    pub thread: String,
    /// Its children, in the order in which they start.
    #[serde(skip)]
    pub children: Vec<Arc<TreeNode>>,
    /// Counts of children that were removed, so that a total over the tree never decreases.
    #[serde(skip)]
    pub removed: RemovedCounts,
    /// The JSON of its own fields.
    #[serde(skip)]
    pub json: RenderedJson,
}

/// The last heartbeat of an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LastHeartbeat {
    /// That of its thread, [`TreeNode::thread`]: no request is open.
    OfThread,
    /// So many milliseconds before the tree was read.
    Ago(u64),
}

/// Counts of children that were removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct RemovedCounts {
    /// Their restarts.
    pub restarts: u64,
    /// Messages that their full mailboxes refused.
    pub refused: u64,
}

/// How an incarnation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastExit {
    /// Stable name, see [`ExitReason::word`](crate::ExitReason::word).
    pub word: String,
    /// One line for the operator.
    pub text: String,
    /// When, RFC 3339 in UTC.
    pub at: String,
}

/// The kind of a node of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildKind {
    /// Has children.
    Supervisor,
    /// Does work.
    Worker,
}

/// The stage of a child's lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildState {
    /// Waits until the children before it are ready, or is not ready yet itself.
    Starting,
    /// Running and ready.
    Running,
    /// Waits to be restarted.
    Backoff,
    /// A stop was requested.
    Stopping,
    /// Stopped until an operator starts it.
    Stopped,
    /// Not restarted: its restart intensity is exceeded, or the exit reason was [`ExitReason::Fatal`](crate::ExitReason::Fatal).
    Failed,
}

impl TreeNode {
    /// This node and those below it, parents first.
    pub fn walk(&self) -> impl Iterator<Item = &TreeNode> {
        let mut left = vec![self];
        std::iter::from_fn(move || {
            let node = left.pop()?;
            left.extend(node.children.iter().rev().map(|child| &**child));
            Some(node)
        })
    }

    /// The node at `path`, if there is one. Looks only at the siblings of the nodes above it.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&TreeNode> {
        if self.path == path {
            return Some(self);
        }
        let is_at_or_above = |child: &&Arc<TreeNode>| match path.strip_prefix(child.path.as_str()) {
            Some(rest) => rest.is_empty() || rest.starts_with('/'),
            None => false,
        };
        self.children.iter().filter(is_at_or_above).find_map(|child| child.find(path))
    }

    /// The child with this id, if there is one.
    #[must_use]
    pub fn child(&self, id: &str) -> Option<&Arc<TreeNode>> {
        self.children.iter().find(|child| child.id == id)
    }
}
