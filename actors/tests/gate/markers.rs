//! A marker that another process puts into place closes the gate: at once by a file event, or by the poll without file events.

use std::time::Duration;

use caduceus_contract::messages::drain::GetDrain;

use crate::engage::engage;
use crate::tree::{TIMEOUT, Tree};

/// `cargo bench --bench marker` repeats this a thousand times and prints the times.
const TIMES: usize = 20;
/// Pause between two requests of a test that waits for the poll.
const PAUSE: Duration = Duration::from_millis(5);

#[actix::test]
async fn a_marker_renamed_into_place_closes_the_gate_and_its_removal_opens_it() {
    let tree = Tree::start().await;
    assert_eq!(engage(&tree, TIMES, Duration::ZERO).await.len(), TIMES);
    assert!(has_file_events(&tree).await, "the status shows file events");
    tree.stop().await;
}

#[actix::test]
async fn without_file_events_the_poll_finds_the_marker_and_its_removal() {
    let tree = Tree::start_with(&[], false).await;
    assert_eq!(engage(&tree, 2, PAUSE).await.len(), 2);
    assert!(!has_file_events(&tree).await, "the status shows no file events");
    tree.stop().await;
}

async fn has_file_events(tree: &Tree) -> bool {
    tree.ports().view.ask(GetDrain, TIMEOUT).await.expect("the gate answers").file_events
}
