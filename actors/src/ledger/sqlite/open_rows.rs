//! The rows of a table that work still has to be done for, by state, so that finished rows need no index.

use std::collections::BTreeSet;

/// The rows in each of the first states of a table. An entry takes some 12 bytes.
#[derive(Debug)]
pub(super) struct OpenRows(Vec<BTreeSet<i64>>);

impl OpenRows {
    /// The first `states` states of a table are open.
    pub(super) fn new(states: usize) -> Self {
        Self(vec![BTreeSet::new(); states])
    }

    /// Removes a row from one state and adds it to another; `None`, or a state that is not open, is neither.
    pub(super) fn move_row(&mut self, row: i64, from: Option<usize>, to: Option<usize>) {
        if let Some(rows) = from.and_then(|state| self.0.get_mut(state)) {
            rows.remove(&row);
        }
        if let Some(rows) = to.and_then(|state| self.0.get_mut(state)) {
            rows.insert(row);
        }
    }

    /// The rows in an open state; `None` if the state is not open.
    pub(super) fn in_state(&self, state: usize) -> Option<&BTreeSet<i64>> {
        self.0.get(state)
    }
}
