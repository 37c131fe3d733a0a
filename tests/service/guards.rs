//! What other processes of the user can take from the guard of an agent.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::markers::serve_as_nobody;
use crate::processes::children_of;
use crate::support::{SOON, wait_for};
use crate::world::World;

#[actix_web::test]
async fn a_guard_can_be_looked_into_by_no_other_process_and_leaves_no_core() {
    let mut world = World::prepare().await;
    world.script("slow", "read -r document; sleep 60", "");
    serve_as_nobody(&mut world).await;
    world.say("one", "hello", "c1", Some("slow")).await;
    let gateway = world.gateway().id();
    let guard = wait_for("the guard of the turn", SOON, || async {
        children_of(gateway).into_iter().find(|pid| {
            // Not before it has made itself safe: its agent exists then.
            !children_of(*pid).is_empty()
        })
    })
    .await;
    // The environment belongs to root once its process is not dumpable.
    let owner = fs::metadata(format!("/proc/{guard}/environ")).unwrap().uid();
    assert_eq!(owner, 0, "others of its user can read it");
    let limits = fs::read_to_string(format!("/proc/{guard}/limits")).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().next(), Some("0"), "{core}");
}
