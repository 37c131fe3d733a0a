//! Orders that reach the gate together are carried out on disk in the order given.

use caduceus_actors::drain::messages::{BeginDrain, CancelDrain, GetDrain};
use futures_util::future::join;

use crate::tree::{TIMEOUT, Tree};

/// Enough for file events and readings to fall between the orders in many ways.
const ROUNDS: usize = 300;

#[actix::test]
async fn a_drain_begun_right_after_a_cancel_is_on_and_its_marker_on_disk() {
    let tree = Tree::start().await;
    let doors = tree.doors();
    let begin = || doors.begin.ask(BeginDrain { principal: "test".to_owned(), ..BeginDrain::default() }, TIMEOUT);
    let cancel = || doors.cancel.ask(CancelDrain { principal: "test".to_owned(), profile: None }, TIMEOUT);
    for round in 0..ROUNDS {
        // An `ask` sends at once, so the gate has all of them before the first is answered.
        let (first, cancelled, again) = (begin(), cancel(), begin());
        let ((first, cancelled), again) = join(join(first, cancelled), again).await;
        first.expect("the gate answers");
        cancelled.expect("the gate answers").expect("the marker goes");
        assert!(again.expect("the gate answers").durable, "round {round}");
        assert!(tree.has_marker(), "round {round}: the last order was to begin");
        assert!(doors.look.ask(GetDrain, TIMEOUT).await.expect("the gate answers").draining, "round {round}");

        let (renewed, cancelled) = join(begin(), cancel()).await;
        renewed.expect("the gate answers");
        cancelled.expect("the gate answers").expect("the marker goes");
        assert!(!tree.has_marker(), "round {round}: the last order was to cancel");
        assert!(!doors.look.ask(GetDrain, TIMEOUT).await.expect("the gate answers").draining, "round {round}");
    }
    tree.stop().await;
}
