//! Orders that reach the gate together are carried out on disk in the order in which they were sent.

use caduceus_contract::messages::drain::{BeginDrain, CancelDrain, GetDrain};
use futures_util::future::join;

use crate::tree::{TIMEOUT, Tree};

/// Enough rounds for file events and readings to occur at many points between the orders.
const ROUNDS: usize = 300;

#[actix::test]
async fn a_drain_begun_right_after_a_cancel_is_on_with_its_marker_on_disk() {
    let tree = Tree::start().await;
    let ports = tree.ports();
    let begin = || ports.begin.ask(BeginDrain { principal: "test".to_owned(), ..BeginDrain::default() }, TIMEOUT);
    let cancel = || ports.cancel.ask(CancelDrain { principal: "test".to_owned(), profile: None }, TIMEOUT);
    for round in 0..ROUNDS {
        // An `ask` sends at once, so the gate has all of them before the first is answered.
        let (first, cancelled, again) = (begin(), cancel(), begin());
        let ((first, cancelled), again) = join(join(first, cancelled), again).await;
        first.expect("the gate answers");
        cancelled.expect("the gate answers").expect("the marker is removed");
        assert!(again.expect("the gate answers").durable, "round {round}");
        assert!(tree.has_marker(), "round {round}: the last order begins a drain");
        assert!(ports.view.ask(GetDrain, TIMEOUT).await.expect("the gate answers").draining, "round {round}");

        let (renewed, cancelled) = join(begin(), cancel()).await;
        renewed.expect("the gate answers");
        cancelled.expect("the gate answers").expect("the marker is removed");
        assert!(!tree.has_marker(), "round {round}: the last order cancels it");
        assert!(!ports.view.ask(GetDrain, TIMEOUT).await.expect("the gate answers").draining, "round {round}");
    }
    tree.stop().await;
}
