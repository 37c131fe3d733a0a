//! The rows of a table that work still has to be done for, or that were given up, by state, so that finished rows need no index.

use std::collections::BTreeSet;

/// The rows in each of the first states of a table, and those that are dead. An entry takes some 12 bytes.
#[derive(Debug)]
pub(super) struct OpenRows {
    open: Vec<BTreeSet<i64>>,
    dead_state: usize,
    dead: BTreeSet<i64>,
}

impl OpenRows {
    /// The first `states` states of a table are open; `dead_state` is that of rows that were given up.
    pub(super) fn new(states: usize, dead_state: usize) -> Self {
        Self { open: vec![BTreeSet::new(); states], dead_state, dead: BTreeSet::new() }
    }

    /// Removes a row from one state and adds it to another; `None`, or a state that is neither open nor dead, is neither.
    pub(super) fn move_row(&mut self, row: i64, from: Option<usize>, to: Option<usize>) {
        if let Some(rows) = from.and_then(|state| self.in_state_mut(state)) {
            rows.remove(&row);
        }
        if let Some(rows) = to.and_then(|state| self.in_state_mut(state)) {
            rows.insert(row);
        }
    }

    /// The rows in a state that is open, or that of dead rows; `None` for another one.
    pub(super) fn in_state(&self, state: usize) -> Option<&BTreeSet<i64>> {
        if state == self.dead_state { Some(&self.dead) } else { self.open.get(state) }
    }

    /// Whether work has to be done for rows in this state.
    pub(super) fn is_open(&self, state: usize) -> bool {
        state < self.open.len()
    }

    fn in_state_mut(&mut self, state: usize) -> Option<&mut BTreeSet<i64>> {
        if state == self.dead_state { Some(&mut self.dead) } else { self.open.get_mut(state) }
    }
}
