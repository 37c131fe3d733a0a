//! The notifications of the gate to the dispatcher.

use caduceus_contract::messages::drain::{BeginDrain, DrainChanged};

use crate::tree::{DrainChanges, TIMEOUT, Tree, wait_for};

#[actix::test]
async fn a_drain_whose_notification_was_lost_in_a_panic_is_reported_by_the_next_incarnation() {
    let tree = Tree::start().await;
    let order = BeginDrain { principal: "test".to_owned(), ..BeginDrain::default() };
    tree.ports().begin.ask(order, TIMEOUT).await.expect("the gate answers");
    let changes = tree.changes();
    until_draining(&changes).await;
    // As if the notification had been lost.
    changes.lock().expect("no holder of the lock panics").clear();
    tree.crash().await;
    assert!(until_draining(&changes).await.draining, "the drain is on");
    tree.stop().await;
}

async fn until_draining(changes: &DrainChanges) -> DrainChanged {
    wait_for("a report of the drain", async || {
        changes.lock().expect("no holder of the lock panics").iter().rfind(|change| change.draining).cloned()
    })
    .await
}
