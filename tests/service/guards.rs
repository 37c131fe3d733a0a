//! What other processes of the same user can read from the guard of an agent.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::markers::serve_as_unprivileged_user;
use crate::processes::children_of;
use crate::support::{SOON, wait_for};
use crate::world::World;

#[actix_web::test]
async fn no_other_process_can_read_a_guard_and_it_leaves_no_core() {
    let mut world = World::prepare().await;
    world.script("slow", "read -r document; sleep 60", "");
    serve_as_unprivileged_user(&mut world).await;
    world.push("one", "hello", "c1", Some("slow")).await;
    let gateway = world.gateway().id();
    let guard = wait_for("the guard of the turn", SOON, || async {
        children_of(gateway).into_iter().find(|pid| {
            // After its protection is in place: its agent exists by then.
            !children_of(*pid).is_empty()
        })
    })
    .await;
    // The environment file belongs to root once the process is not dumpable.
    let owner = fs::metadata(format!("/proc/{guard}/environ")).unwrap().uid();
    assert_eq!(owner, 0, "other processes of its user can read it");
    let limits = fs::read_to_string(format!("/proc/{guard}/limits")).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().next(), Some("0"), "{core}");
}
