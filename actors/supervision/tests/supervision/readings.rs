//! What a reading of the tree makes, and what it shares with the one before it.

use std::sync::Arc;
use std::time::Duration;

use caduceus_supervision::{ChildState, Mailbox, RootHandle, RootOptions, Strategy, Tree, TreeNode, WorkerThread};

use crate::support::{EventLog, Subject, hook, options, start, supervisor, until_generation, until_state, within};

/// A tree whose heartbeats are not checked during the test, and that is idle.
async fn idle_tree(subjects: &[Subject]) -> RootHandle {
    hook();
    // The first check is late.
    let options = RootOptions { unresponsive_after: Duration::from_hours(10), ..options() };
    let children = subjects.iter().map(Subject::spec);
    let branch = caduceus_supervision::ChildSpec::supervisor(
        "branch",
        &Mailbox::new(),
        supervisor(Strategy::OneForOne, children),
    );
    let root = start(supervisor(Strategy::OneForOne, [branch]), options);
    until_state(&root, "branch", ChildState::Running).await;
    settled(&root).await;
    root
}

/// Waits until a second reading makes nothing: the actors have answered the requests for their first heartbeats.
async fn settled(root: &RootHandle) -> Tree {
    let same = async {
        loop {
            let (first, second) = (root.board().snapshot(), root.board().snapshot());
            let is_running = |node: &TreeNode| node.state == ChildState::Running;
            if first.walk().all(is_running) && Arc::ptr_eq(&first.root, &second.root) {
                return second;
            }
            actix::clock::sleep(Duration::from_millis(1)).await;
        }
    };
    within("a reading that makes no node", same).await
}

/// The paths of the nodes that are not shared.
fn made(before: &Tree, now: &Tree) -> Vec<String> {
    let is_shared = |node: &TreeNode| before.find(&node.path).is_some_and(|before| std::ptr::eq(before, node));
    now.walk().filter(|node| !is_shared(node)).map(|node| node.path.clone()).collect()
}

fn subjects(number: usize) -> Vec<Subject> {
    let log = EventLog::default();
    (0..number).map(|at| Subject::new(&format!("s{at}"), &log)).collect()
}

#[actix::test]
async fn reading_makes_only_the_nodes_that_changed_and_their_supervisors_whatever_the_number_of_children() {
    for number in [5, 200] {
        let subjects = subjects(number);
        let root = idle_tree(&subjects).await;
        let before = settled(&root).await;
        subjects[3].crash();
        until_generation(&root, "branch/s3", 2).await;
        let now = settled(&root).await;
        assert_eq!(made(&before, &now), ["", "branch", "branch/s3"]);
        root.stop().await;
    }
}

#[actix::test]
async fn messages_that_wait_are_shown_although_no_state_changed() {
    let subjects = subjects(2);
    let root = idle_tree(&subjects).await;
    let before = settled(&root).await;
    // No actor of this thread runs meanwhile.
    for _ in 0..3 {
        subjects[1].call_blocking(|| {});
    }
    let now = root.board().snapshot();
    assert_eq!(now.find("branch/s1").unwrap().queue_depth, 3);
    assert_eq!(made(&before, &now), ["", "branch", "branch/s1"]);
    assert_eq!(subjects[1].ping().await, 1);
    assert_eq!(settled(&root).await.find("branch/s1").unwrap().queue_depth, 0);
    root.stop().await;
}

#[actix::test]
async fn json_of_a_node_is_rendered_once_and_has_the_age_of_its_heartbeat_at_each_reading() {
    let subjects = subjects(2);
    let root = idle_tree(&subjects).await;
    let (mut tree, mut json) = (settled(&root).await, Vec::new());
    assert!(tree.walk().all(|node| !node.json.is_rendered()));
    tree.write_json(&mut json).unwrap();
    assert!(tree.walk().all(|node| node.json.is_rendered()));
    for (_, age) in &mut tree.threads {
        *age = 1_234;
    }
    let mut later = Vec::new();
    tree.write_json(&mut later).unwrap();
    let later: serde_json::Value = serde_json::from_slice(&later).unwrap();
    let child = &later["children"][0]["children"][1];
    assert_eq!((&child["id"], &child["heartbeat_age_ms"]), (&"s1".into(), &1_234.into()));
    subjects[0].crash();
    until_generation(&root, "branch/s0", 2).await;
    let tree = settled(&root).await;
    let rendered = |path: &str| tree.find(path).unwrap().json.is_rendered();
    assert_eq!((rendered("branch/s0"), rendered("branch/s1")), (false, true));
    root.stop().await;
}

#[actix::test]
async fn threads_of_one_name_have_their_own_heartbeats() {
    let [first, second]: [Subject; 2] = subjects(2).try_into().unwrap_or_else(|_| panic!("two subjects"));
    hook();
    let children = [first.spec().on(&WorkerThread::new("data")), second.spec().on(&WorkerThread::new("data"))];
    let root = start(supervisor(Strategy::OneForOne, children), options());
    assert_eq!((first.ping().await, second.ping().await), (1, 1));
    let tree = root.board().snapshot();
    assert_eq!(tree.threads.iter().filter(|(name, _)| name == "data").count(), 1);
    for path in ["s0", "s1"] {
        assert!(tree.heartbeat_age_ms(tree.find(path).unwrap()).is_some(), "{path}");
    }
    root.stop().await;
}
