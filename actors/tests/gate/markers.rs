//! A marker that somebody else puts into its place closes the gate: by a file event at once, by the poll where there are none.

use std::time::Duration;

use caduceus_actors::drain::messages::GetDrain;

use crate::engage::engage;
use crate::tree::{TIMEOUT, Tree};

/// `cargo bench --bench marker` does this a thousand times, and tells how fast.
const TIMES: usize = 20;
/// Between two questions of whoever waits for the poll.
const PAUSE: Duration = Duration::from_millis(5);

#[actix::test]
async fn a_marker_renamed_into_its_place_closes_the_gate_and_its_removal_opens_it() {
    let tree = Tree::start().await;
    assert_eq!(engage(&tree, TIMES, Duration::ZERO).await.len(), TIMES);
    assert!(has_file_events(&tree).await, "the status says that there are file events");
    tree.stop().await;
}

#[actix::test]
async fn without_file_events_the_poll_finds_the_marker_and_its_removal() {
    let tree = Tree::start_with(&[], false).await;
    assert_eq!(engage(&tree, 2, PAUSE).await.len(), 2);
    assert!(!has_file_events(&tree).await, "the status says that there are none");
    tree.stop().await;
}

async fn has_file_events(tree: &Tree) -> bool {
    tree.doors().look.ask(GetDrain, TIMEOUT).await.expect("the gate answers").file_events
}
