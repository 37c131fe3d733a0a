//! Which profiles a snapshot queries and shows anew.

use std::time::Duration;

use actix::{Actor, Context, Handler, MessageResult};
use caduceus_contract::messages::profile::ProfileState;
use caduceus_contract::status::shown::ShownState;
use caduceus_supervision::{ChildKind, ChildState, LastHeartbeat, Mailbox, RemovedCounts, RenderedJson};

use super::*;

const THREAD: &str = "control";

/// Has a port for the queries, which are not sent here.
struct QueriedProfile;

impl Actor for QueriedProfile {
    type Context = Context<Self>;
}

impl Handler<GetProfile> for QueriedProfile {
    type Result = MessageResult<GetProfile>;

    fn handle(&mut self, _: GetProfile, _: &mut Self::Context) -> Self::Result {
        MessageResult(ready(&name("any")))
    }
}

/// The profiles, and their nodes in a tree that a test changes.
struct StatusOfProfiles {
    views: ProfileViews,
    nodes: Vec<Arc<TreeNode>>,
    tree: Tree,
    start: Instant,
}

impl StatusOfProfiles {
    /// These profiles run, and each has reported its view.
    fn of(names: &[&str]) -> Self {
        let nodes = names.iter().map(|name| Arc::new(node(&format!("profiles/{name}"), Vec::new()))).collect();
        let (tree, start) = (tree_of(Vec::new(), 0), Instant::now());
        let mut status = Self { views: ProfileViews::default(), nodes, tree, start };
        status.serve(names);
        assert_eq!(status.snapshot(&[]), names.len());
        status
    }

    fn serve(&mut self, names: &[&str]) {
        let names: Vec<_> = names.iter().map(|text| name(text)).collect();
        self.views.serve(&names);
    }

    fn change_node(&mut self, id: &str, change: impl FnOnce(&mut TreeNode)) {
        let node = self.nodes.iter_mut().find(|node| node.id == id).unwrap();
        change(Arc::make_mut(node));
    }

    /// A snapshot after a change of the `touched`, all of which answer; returns how many profiles it queried.
    fn snapshot(&mut self, touched: &[&str]) -> usize {
        let queried = self.queries(touched, self.start);
        for (name, generation) in &queried {
            self.views.store(name, Ok(ready(name)), *generation);
        }
        self.show(self.start);
        queried.len()
    }

    /// The profiles that a snapshot queries at `now`, and the generation of each.
    fn queries(&mut self, touched: &[&str], now: Instant) -> Vec<(ProfileName, u64)> {
        // As the board does: a supervisor is the same if its children are.
        let is_same = self.tree.child("profiles").is_some_and(|profiles| profiles.children == self.nodes);
        if !is_same {
            self.tree = tree_of(self.nodes.clone(), 10);
        }
        self.views.read(&self.tree);
        let port = Mailbox::<QueriedProfile>::new().port::<GetProfile>();
        let touched = touched.iter().map(|text| name(text)).collect();
        let queries = self.views.queries(touched, |_| Some(port.clone()), &self.tree, now);
        queries.into_iter().map(|query| (query.profile, query.generation)).collect()
    }

    fn show(&mut self, now: Instant) -> Arc<ShownProfiles> {
        self.views.show(&self.tree, now, self.start)
    }

    fn queried(&mut self, touched: &[&str]) -> Vec<String> {
        self.queries(touched, self.start).into_iter().map(|(name, _)| name.to_string()).collect()
    }
}

fn name(text: &str) -> ProfileName {
    ProfileName::parse(text).unwrap()
}

fn ready(name: &ProfileName) -> ProfileView {
    ProfileView { state: ProfileState::Ready, ..ProfileView::not_reported(name.clone()) }
}

fn node(path: &str, children: Vec<Arc<TreeNode>>) -> TreeNode {
    TreeNode {
        id: path.rsplit('/').next().unwrap().to_owned(),
        path: path.to_owned(),
        kind: ChildKind::Worker,
        state: ChildState::Running,
        generation: 1,
        restarts_in_window: 0,
        restarts_total: 0,
        started_at: None,
        last_exit: None,
        queue_depth: 0,
        refused: 0,
        next_restart_in_ms: None,
        heartbeat: Some(LastHeartbeat::OfThread),
        thread: THREAD.to_owned(),
        children,
        removed: RemovedCounts::default(),
        json: RenderedJson::default(),
    }
}

/// A tree with these profiles on a thread whose heartbeat has this age.
fn tree_of(profiles: Vec<Arc<TreeNode>>, heartbeat_age_ms: u64) -> Tree {
    let root = Arc::new(node("", vec![Arc::new(node("profiles", profiles))]));
    Tree { root, threads: vec![(THREAD.to_owned(), heartbeat_age_ms)] }
}

/// The places whose parts are not the same allocation.
fn shown_anew(before: &ShownProfiles, now: &ShownProfiles) -> Vec<usize> {
    let parts = before.parts().iter().zip(now.parts()).enumerate();
    parts.filter(|(_, (before, now))| !Arc::ptr_eq(before, now)).map(|(place, _)| place).collect()
}

#[test]
fn only_profiles_that_changed_or_may_not_answer_are_queried() {
    let mut status = StatusOfProfiles::of(&["changed", "hung", "late", "restarted", "same", "waiting"]);
    status.queries(&["hung"], status.start);
    status.views.store(&name("hung"), Err(AskError::Timeout), 1);
    status.show(status.start);
    status.change_node("late", |node| node.heartbeat = Some(LastHeartbeat::Ago(2_000)));
    status.change_node("restarted", |node| node.generation = 2);
    // Its node changed, and its view is as current as before.
    status.change_node("waiting", |node| node.queue_depth = 3);
    status.nodes.push(Arc::new(node("profiles/new", Vec::new())));
    status.serve(&["changed", "hung", "late", "restarted", "same", "waiting", "new"]);
    assert_eq!(status.queried(&["changed"]), ["changed", "hung", "late", "new", "restarted"]);
}

#[test]
fn all_profiles_of_a_thread_that_may_hang_are_queried() {
    let mut status = StatusOfProfiles::of(&["a", "b"]);
    assert!(status.queried(&[]).is_empty());
    status.tree.threads[0].1 = 1_000;
    assert_eq!(status.queried(&[]), ["a", "b"]);
}

#[test]
fn a_snapshot_does_work_for_the_profiles_that_changed_whatever_their_number() {
    for profiles in [10, 1_000] {
        let names: Vec<_> = (0..profiles).map(|number| format!("p{number}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut status = StatusOfProfiles::of(&names);
        let first = status.show(status.start);
        assert_eq!(status.snapshot(&[]), 0);
        let same = status.show(status.start);
        assert!(Arc::ptr_eq(&first, &same), "nothing changed, and the list is another one");

        assert_eq!(status.snapshot(&["p3"]), 1);
        assert!(Arc::ptr_eq(&same, &status.show(status.start)), "the view of the touched profile is the same");
        status.queries(&["p3"], status.start);
        status.views.store(&name("p3"), Ok(ProfileView { secrets: 4, ..ready(&name("p3")) }), 1);
        let touched = status.show(status.start);
        assert_eq!(shown_anew(&same, &touched), [3]);

        status.change_node("p5", |node| node.state = ChildState::Failed);
        let queried = status.queried(&[]);
        assert_eq!(queried, ["p5"]);
        let failed = status.show(status.start);
        assert_eq!(shown_anew(&touched, &failed), [5]);
        assert_eq!(failed.parts()[5].shown().state, ShownState::Actor(ChildState::Failed));
    }
}

#[test]
fn a_profile_that_goes_down_is_as_old_as_the_last_snapshot_that_found_it_up() {
    let mut status = StatusOfProfiles::of(&["a", "b"]);
    let found = status.start + Duration::from_hours(1);
    assert!(status.queries(&[], found).is_empty());
    status.show(found);
    status.change_node("a", |node| node.state = ChildState::Backoff);
    for seconds in [3, 5] {
        let now = found + Duration::from_secs(seconds);
        assert_eq!(status.queries(&[], now).len(), 1);
        status.views.store(&name("a"), Err(AskError::Closed), 1);
        let shown = status.show(now);
        assert_eq!(shown.parts()[0].shown().stale_ms, Some(seconds * 1_000));
        assert_eq!(shown.parts()[1].shown().stale_ms, None);
    }
}

#[test]
fn a_profile_that_goes_down_while_the_answers_are_awaited_is_shown_down() {
    let mut status = StatusOfProfiles::of(&["a", "b"]);
    let now = status.start + Duration::from_mins(1);
    assert!(status.queries(&[], now).is_empty());
    status.change_node("b", |node| node.state = ChildState::Stopped);
    status.tree = tree_of(status.nodes.clone(), 10);
    status.views.read(&status.tree);
    let shown = status.show(now + Duration::from_secs(1));
    let part = shown.parts()[1].shown();
    assert_eq!((part.state, part.stale_ms), (ShownState::Actor(ChildState::Stopped), Some(1_000)));
}

#[test]
fn added_and_removed_profiles_are_shown_in_the_order_in_which_they_are_served() {
    let mut status = StatusOfProfiles::of(&["a", "b", "c"]);
    let before = status.show(status.start);
    status.nodes.remove(1);
    status.nodes.push(Arc::new(node("profiles/d", Vec::new())));
    // Removed from the tree before the settings are in force.
    assert_eq!(status.queried(&[]), ["b"]);
    assert_eq!(status.show(status.start).parts()[1].shown().actor, ChildState::Stopped);
    status.serve(&["c", "a", "d"]);
    assert_eq!(status.snapshot(&[]), 1);
    let shown = status.show(status.start);
    let names: Vec<_> = shown.parts().iter().map(|part| part.shown().view.name.as_str()).collect();
    assert_eq!((names.as_slice(), status.views.names().len()), (["c", "a", "d"].as_slice(), 3));
    assert!(Arc::ptr_eq(&shown.parts()[0], &before.parts()[2]) && Arc::ptr_eq(&shown.parts()[1], &before.parts()[0]));
}

#[test]
fn a_query_that_was_lost_with_its_incarnation_is_made_again() {
    let mut status = StatusOfProfiles::of(&["a", "b"]);
    assert_eq!(status.queried(&["b"]), ["b"]);
    // Shown meanwhile, as after a change of the phase; the answer never comes.
    status.show(status.start);
    assert_eq!(status.queried(&[]), ["b"]);
    status.views.unsettle_all();
    status.show(status.start);
    assert_eq!(status.queried(&[]), ["a", "b"]);
}
