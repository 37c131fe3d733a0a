//! A disk of one profile that does not answer affects only that profile: not the others, and not the gateway's own marker.

use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use actix::clock::sleep;
use caduceus_actors::drain::permit::TurnPermit;
use caduceus_actors::drain::permit::messages::RequestPermit;
use caduceus_actors::files::workers::Owner;
use caduceus_actors::files::{FileWorker, Purpose};
use caduceus_actors::turn::id::fresh_turn_id;
use caduceus_contract::messages::drain::{DrainView, GetDrain, Origin, Refusal, TurnTicket};
use caduceus_contract::profile_name::ProfileName;

use crate::tree::{TIMEOUT, Tree, ticket};

/// Reads of the markers of `profile` hang, as on a dead disk, until the returned value is dropped.
fn hang(tree: &Tree, profile: &str) -> Sender<()> {
    let marker = tree.marker(Some(profile));
    let home = marker.parent().map_or(Path::new(""), |home| home);
    let (release, released) = channel();
    let (begun, begins) = channel();
    let taken = FileWorker::of(home, Purpose::Marker, Owner::Profile).post(move || {
        begun.send(()).expect("the test waits");
        let _ = released.recv();
    });
    assert!(taken);
    begins.recv_timeout(TIMEOUT).expect("the reading hangs");
    release
}

async fn until(what: &str, tree: &Tree, is: impl Fn(&DrainView) -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is(&tree.ports().look.ask(GetDrain, TIMEOUT).await.expect("the gate answers")) {
        assert!(Instant::now() < deadline, "timed out waiting for {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

async fn wait(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is() {
        assert!(Instant::now() < deadline, "timed out waiting for {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

async fn ask(tree: &Tree, profile: &str) -> Result<TurnPermit, Refusal> {
    let profile = ProfileName::parse(profile).expect("a name");
    let ticket = TurnTicket { id: fresh_turn_id(), profile, ..ticket() };
    let asked = tree.ports().permits.ask(RequestPermit { ticket, origin: Origin::External }, TIMEOUT).await;
    asked.expect("the gate answers")
}

#[actix::test]
async fn markers_of_the_gateway_and_of_a_sibling_are_read_while_one_profiles_disk_hangs() {
    let tree = Tree::start_with(&["dead", "well"], true).await;
    let release = hang(&tree, "dead");
    for _ in 0..3 {
        std::fs::write(tree.marker(None), "{}").expect("the marker is written");
        until("the drain", &tree, |view| view.draining).await;
        std::fs::remove_file(tree.marker(None)).expect("the marker is removed");
        until("the end of the drain", &tree, |view| !view.draining).await;
    }
    std::fs::write(tree.marker(Some("well")), "{}").expect("the marker is written");
    until("the sibling's drain", &tree, |view| !view.profiles.is_empty()).await;
    drop(release);
    tree.stop().await;
}

#[actix::test]
async fn a_profile_whose_disk_hangs_at_the_start_counts_as_drained_and_the_others_are_served() {
    let tree = Tree::start_with(&["dead", "well"], true).await;
    let release = hang(&tree, "dead");
    // The next incarnation has read no marker yet.
    let changes = tree.changes();
    let changes = || changes.lock().expect("no holder of the lock panics").len();
    // The first incarnation sent one change, at its start.
    wait("the first gate's changes", || changes() > 0).await;
    let before = changes();
    tree.crash().await;
    wait("the next gate's changes", || changes() > before).await;
    let asked = Instant::now();
    assert!(ask(&tree, "well").await.is_ok() && ask(&tree, "default").await.is_ok());
    assert!(asked.elapsed() < Duration::from_secs(4), "no request waited for the disk that hangs");
    assert_eq!(ask(&tree, "dead").await.err(), Some(Refusal::Draining));
    drop(release);
    until("the end of the drain", &tree, |view| view.profiles.is_empty()).await;
    assert!(ask(&tree, "dead").await.is_ok());
    tree.stop().await;
}
