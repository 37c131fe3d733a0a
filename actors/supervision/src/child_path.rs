//! The place of a child in the tree.

use std::sync::{Arc, OnceLock};

/// The id of a child, and its path from the root. The path is joined when it is first read: most short-lived children end without
/// that.
#[derive(Debug, Clone)]
pub(crate) struct ChildPath {
    /// Path of the supervisor; empty below the root.
    above: Arc<str>,
    id: Arc<str>,
    joined: OnceLock<Box<str>>,
}

impl ChildPath {
    /// The root, whose path is empty.
    pub(crate) fn root() -> Self {
        Self { above: Arc::default(), id: Arc::from("root"), joined: OnceLock::from(Box::default()) }
    }

    /// The child `id` of the supervisor at `above`.
    pub(crate) fn new(above: &Arc<str>, id: &Arc<str>) -> Self {
        Self { above: Arc::clone(above), id: Arc::clone(id), joined: OnceLock::new() }
    }

    pub(crate) fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Ids from the root's child down, joined by slashes.
    pub(crate) fn as_str(&self) -> &str {
        if self.above.is_empty() && self.joined.get().is_none() {
            return &self.id;
        }
        self.joined.get_or_init(|| format!("{}/{}", self.above, self.id).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_joined_below_the_children_of_the_root() {
        let root = ChildPath::root();
        assert_eq!((root.as_str(), &**root.id()), ("", "root"));
        let turns = ChildPath::new(&Arc::from(root.as_str()), &Arc::from("turns"));
        assert_eq!(turns.as_str(), "turns");
        let turn = ChildPath::new(&Arc::from(turns.as_str()), &Arc::from("7"));
        assert_eq!((turn.as_str(), turn.clone().as_str()), ("turns/7", "turns/7"));
    }
}
