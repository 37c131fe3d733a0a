//! For the tests of plans: all histories of a plan up to a length, each state visited once.

use std::collections::{HashSet, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;

/// Compiles for a plan that a model checker can hold.
pub(crate) fn assert_value<T: Clone + Hash + Eq>() {}

/// A plan with the part of the state around it that the checker needs.
pub(crate) trait Explored: Clone + Hash + Eq {
    type Event: Clone + Debug;

    /// The events that can happen next.
    fn events(&self) -> Vec<Self::Event>;

    /// Applies an event.
    ///
    /// # Errors
    /// Which guarantee is broken.
    fn apply(&mut self, event: &Self::Event) -> Result<(), String>;
}

/// Explores all histories of at most `depth` events, breadth first. Answers the number of states.
///
/// # Errors
/// The guarantee that is broken, with the shortest history that breaks it.
pub(crate) fn explore<S: Explored>(first: S, depth: usize) -> Result<usize, String> {
    let mut visited = HashSet::from([first.clone()]);
    let mut open = VecDeque::from([(first, Vec::new())]);
    while let Some((state, history)) = open.pop_front() {
        if history.len() == depth {
            continue;
        }
        for event in state.events() {
            let mut next = state.clone();
            let applied = next.apply(&event);
            let history: Vec<_> = history.iter().cloned().chain([event]).collect();
            applied.map_err(|broken| format!("{broken} after {history:?}"))?;
            if visited.insert(next.clone()) {
                open.push_back((next, history));
            }
        }
    }
    Ok(visited.len())
}
