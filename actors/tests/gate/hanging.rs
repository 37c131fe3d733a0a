//! One profile's disk that does not answer is that profile's trouble, and no other's: least of all the gateway's own marker's.

use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use actix::clock::sleep;
use caduceus_actors::drain::messages::{DrainView, GetDrain, Origin, Refusal, TurnTicket};
use caduceus_actors::drain::permit::TurnPermit;
use caduceus_actors::drain::permit::messages::RequestPermit;
use caduceus_actors::files::workers::Owner;
use caduceus_actors::files::{FileWorker, Purpose};
use caduceus_actors::profile::name::ProfileName;
use caduceus_actors::turn::id::TurnId;

use crate::tree::{TIMEOUT, Tree, ticket};

/// Does to the markers of `profile` what a dead disk does, until the answer is dropped.
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
    begins.recv_timeout(TIMEOUT).expect("it hangs");
    release
}

async fn until(what: &str, tree: &Tree, is: impl Fn(&DrainView) -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is(&tree.doors().look.ask(GetDrain, TIMEOUT).await.expect("the gate answers")) {
        assert!(Instant::now() < deadline, "{what} never came");
        sleep(Duration::from_millis(1)).await;
    }
}

async fn wait(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is() {
        assert!(Instant::now() < deadline, "{what} never came");
        sleep(Duration::from_millis(1)).await;
    }
}

async fn ask(tree: &Tree, profile: &str) -> Result<TurnPermit, Refusal> {
    let profile = ProfileName::parse(profile).expect("a name");
    let ticket = TurnTicket { id: TurnId::fresh(), profile, ..ticket() };
    let asked = tree.doors().permits.ask(RequestPermit { ticket, origin: Origin::External }, TIMEOUT).await;
    asked.expect("the gate answers")
}

#[actix::test]
async fn the_gateways_own_marker_and_a_siblings_are_read_beside_a_profile_that_hangs() {
    let tree = Tree::start_with(&["dead", "well"], true).await;
    let release = hang(&tree, "dead");
    for _ in 0..3 {
        std::fs::write(tree.marker(None), "{}").expect("the marker is written");
        until("the drain", &tree, |view| view.draining).await;
        std::fs::remove_file(tree.marker(None)).expect("the marker is removed");
        until("its end", &tree, |view| !view.draining).await;
    }
    std::fs::write(tree.marker(Some("well")), "{}").expect("the marker is written");
    until("the sibling's drain", &tree, |view| !view.profiles.is_empty()).await;
    drop(release);
    tree.stop().await;
}

#[actix::test]
async fn a_profile_that_hangs_from_the_start_counts_as_drained_until_it_answers_and_the_others_are_served() {
    let tree = Tree::start_with(&["dead", "well"], true).await;
    let release = hang(&tree, "dead");
    // The next incarnation knows of no marker.
    let news = tree.news();
    let told = || news.lock().expect("nobody panics with the news in hand").len();
    // All that the first one had to tell: it was told once, when it came up.
    wait("the first gate's news", || told() > 0).await;
    let before = told();
    tree.fall().await;
    wait("the next gate's news", || told() > before).await;
    let asked = Instant::now();
    assert!(ask(&tree, "well").await.is_ok() && ask(&tree, "default").await.is_ok());
    assert!(asked.elapsed() < Duration::from_secs(4), "nobody waited for the one that hangs");
    assert_eq!(ask(&tree, "dead").await.err(), Some(Refusal::Draining));
    drop(release);
    until("the end of the drain", &tree, |view| view.profiles.is_empty()).await;
    assert!(ask(&tree, "dead").await.is_ok());
    tree.stop().await;
}
