//! A disk of one profile that does not answer affects only that profile: not the others, and not the gateway's own marker.

use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use caduceus_actors::drain::permit::TurnPermit;
use caduceus_actors::files::workers::Owner;
use caduceus_actors::files::{FileWorker, Purpose};
use caduceus_actors::turn::id::fresh_turn_id;
use caduceus_contract::messages::drain::{DrainView, GetDrain, Origin, Refusal, TurnTicket};
use caduceus_contract::profile_name::ProfileName;

use crate::tree::{TIMEOUT, Tree, ticket, wait_for};

/// Reads of the markers of `profile` hang, as on a hung disk, until the returned value is dropped.
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
    wait_for(what, async || {
        let view = tree.ports().view.ask(GetDrain, TIMEOUT).await.expect("the gate answers");
        is(&view).then_some(())
    })
    .await;
}

async fn request_permit(tree: &Tree, profile: &str) -> Result<TurnPermit, Refusal> {
    let profile = ProfileName::parse(profile).expect("a name");
    let ticket = TurnTicket { id: fresh_turn_id(), profile, ..ticket() };
    tree.ports().request(ticket, Origin::External).await
}

#[actix::test]
async fn markers_of_the_gateway_and_of_a_sibling_are_read_while_one_profiles_disk_hangs() {
    let tree = Tree::start_with(&["dead", "good"], true).await;
    let release = hang(&tree, "dead");
    for _ in 0..3 {
        std::fs::write(tree.marker(None), "{}").expect("the marker is written");
        until("the drain", &tree, |view| view.draining).await;
        std::fs::remove_file(tree.marker(None)).expect("the marker is removed");
        until("the end of the drain", &tree, |view| !view.draining).await;
    }
    std::fs::write(tree.marker(Some("good")), "{}").expect("the marker is written");
    until("the sibling's drain", &tree, |view| !view.profiles.is_empty()).await;
    drop(release);
    tree.stop().await;
}

#[actix::test]
async fn a_profile_whose_disk_hangs_at_the_start_counts_as_drained_and_the_others_are_served() {
    let tree = Tree::start_with(&["dead", "good"], true).await;
    let release = hang(&tree, "dead");
    // The next incarnation has read no marker yet.
    let changes = tree.changes();
    let changes = || changes.lock().expect("no holder of the lock panics").len();
    // The first incarnation sent one change, at its start.
    wait_for("the first gate's changes", async || (changes() > 0).then_some(())).await;
    let before = changes();
    tree.crash().await;
    wait_for("the next gate's changes", async || (changes() > before).then_some(())).await;
    let requested = Instant::now();
    assert!(request_permit(&tree, "good").await.is_ok() && request_permit(&tree, "default").await.is_ok());
    assert!(requested.elapsed() < Duration::from_secs(4), "no request waited for the disk that hangs");
    assert_eq!(request_permit(&tree, "dead").await.err(), Some(Refusal::Draining));
    drop(release);
    until("the end of the drain", &tree, |view| view.profiles.is_empty()).await;
    assert!(request_permit(&tree, "dead").await.is_ok());
    tree.stop().await;
}
