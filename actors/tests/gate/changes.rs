//! The notifications of the gate to the dispatcher.

use caduceus_actors::drain::permit::PermitRequest;
use caduceus_actors::drain::permit::messages::RequestPermits;
use caduceus_actors::turn::id::fresh_turn_id;
use caduceus_contract::messages::drain::{BeginDrain, DrainChanged, GetDrain, Origin, TurnTicket};
use caduceus_contract::profile_name::ProfileName;

use crate::tree::{DrainChanges, TIMEOUT, Tree, ticket, wait_for};

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

#[actix::test]
async fn permits_requested_together_are_answered_each_in_its_place() {
    let tree = Tree::start_with(&["one", "two"], true).await;
    let name = |name: &str| ProfileName::parse(name).expect("a name");
    let begin = BeginDrain { principal: "test".to_owned(), profile: Some(name("one")), ..BeginDrain::default() };
    tree.ports().begin.ask(begin, TIMEOUT).await.expect("the gate answers");
    let request = |profile: &str| PermitRequest {
        ticket: TurnTicket { id: fresh_turn_id(), profile: name(profile), ..ticket() },
        origin: Origin::External,
    };
    let requests = RequestPermits(["one", "two", "one", "two"].map(request).to_vec());
    let answers = tree.ports().permits.ask(requests, TIMEOUT).await.expect("the gate answers");
    let admitted: Vec<_> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(admitted, [false, true, false, true]);
    let view = tree.ports().view.ask(GetDrain, TIMEOUT).await.expect("the gate answers");
    assert_eq!(view.active_agents, 2);
    drop(answers);
    let view = tree.ports().view.ask(GetDrain, TIMEOUT).await.expect("the gate answers");
    assert_eq!(view.active_agents, 0, "a dropped permit no longer counts");
    tree.stop().await;
}
