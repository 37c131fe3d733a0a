//! Requests from operators and other actors to the tree.

use std::time::Duration;

use caduceus_supervision::{
    AskError, ChildSpec, ChildState, Fault, InjectFault, Mailbox, Operate, OperateError, OperatorCommand, Restart,
    Root, RootHandle, RootOptions, SpecError, StartChild, StartChildError, StartError, StopChild, Strategy, Supervisor,
};

use crate::support::{
    CEILING, EventLog, Ping, Subject, hook, inject, operate, options, start, supervisor, tree, until_generation,
    until_state,
};

async fn refused(root: &RootHandle, path: &str, command: OperatorCommand) -> OperateError {
    let answer = root.port().ask(Operate { path: path.to_owned(), command }, CEILING).await;
    answer.expect("the root answers").expect_err("the command is refused")
}

#[actix::test]
async fn commanded_restart_does_not_count() {
    let subject = Subject::new("a", &EventLog::default());
    let root = tree(Strategy::OneForOne, [subject.spec()]);
    assert_eq!(subject.ping().await, 1);
    operate(&root, "a", OperatorCommand::Restart).await;
    let node = until_generation(&root, "a", 2).await;
    assert_eq!((node.restarts_in_window, node.restarts_total), (0, 1));
    assert_eq!(node.last_exit.map(|last| last.word), Some("asked".to_owned()));
}

#[actix::test]
async fn stopped_child_refuses_messages_until_it_is_restarted() {
    let subject = Subject::new("a", &EventLog::default());
    let root = tree(Strategy::OneForOne, [subject.spec()]);
    assert_eq!(subject.ping().await, 1);
    operate(&root, "a", OperatorCommand::Stop).await;
    until_state(&root, "a", ChildState::Stopped).await;
    assert_eq!(subject.mailbox.port().ask(Ping, CEILING).await, Err(AskError::Closed));
    operate(&root, "a", OperatorCommand::Restart).await;
    assert_eq!(subject.ping().await, 2);
}

#[actix::test]
async fn commands_are_routed_down_the_tree() {
    let subject = Subject::new("leaf", &EventLog::default());
    let (outer, inner) = (Mailbox::new(), Mailbox::new());
    let inner = ChildSpec::supervisor("inner", &inner, supervisor(Strategy::OneForOne, [subject.spec()]));
    let outer = ChildSpec::supervisor("outer", &outer, supervisor(Strategy::OneForOne, [inner]));
    let root = tree(Strategy::OneForOne, [outer]);
    until_generation(&root, "outer/inner/leaf", 1).await;
    operate(&root, "outer/inner/leaf", OperatorCommand::Restart).await;
    assert_eq!(until_generation(&root, "outer/inner/leaf", 2).await.id, "leaf");
    let unknown = OperateError::NoSuchChild("twig".to_owned());
    assert_eq!(refused(&root, "outer/inner/twig", OperatorCommand::Stop).await, unknown);
    let unknown = OperateError::NoSuchChild("else/leaf".to_owned());
    assert_ne!(refused(&root, "else/leaf", OperatorCommand::Stop).await, unknown, "the error names the missing id");
}

#[actix::test]
async fn path_through_a_worker_is_refused() {
    let subject = Subject::new("a", &EventLog::default());
    let root = tree(Strategy::OneForOne, [subject.spec()]);
    assert_eq!(refused(&root, "a/b", OperatorCommand::Stop).await, OperateError::NoSuchChild("a/b".to_owned()));
}

#[actix::test]
async fn command_through_a_stopped_supervisor_is_answered_at_once() {
    let subject = Subject::new("a", &EventLog::default());
    let branch = Mailbox::new();
    let below = ChildSpec::supervisor("below", &branch, supervisor(Strategy::OneForOne, [subject.spec()]));
    let root = tree(Strategy::OneForOne, [below]);
    until_generation(&root, "below/a", 1).await;
    operate(&root, "below", OperatorCommand::Stop).await;
    until_state(&root, "below", ChildState::Stopped).await;
    let error = OperateError::Unreachable { id: "below".to_owned(), source: AskError::Closed };
    assert_eq!(refused(&root, "below/a", OperatorCommand::Restart).await, error);
    assert_eq!(subject.mailbox.port().ask(Ping, CEILING).await, Err(AskError::Closed));
}

#[actix::test]
async fn faults_are_refused_unless_allowed() {
    hook();
    let subject = Subject::new("a", &EventLog::default());
    let spec = supervisor(Strategy::OneForOne, [subject.spec()]);
    let root = start(spec, RootOptions { faults_allowed: false, ..options() });
    let fault = InjectFault { path: "a".to_owned(), fault: Fault::PanicInHandler };
    assert_eq!(root.port().ask(fault, CEILING).await, Ok(Err(OperateError::FaultsRefused)));
}

#[actix::test]
async fn fault_cannot_be_injected_into_a_child_that_is_stopped() {
    let subject = Subject::new("a", &EventLog::default());
    let root = tree(Strategy::OneForOne, [subject.spec()]);
    operate(&root, "a", OperatorCommand::Stop).await;
    until_state(&root, "a", ChildState::Stopped).await;
    let fault = InjectFault { path: "a".to_owned(), fault: Fault::HangActor };
    assert_eq!(root.port().ask(fault, CEILING).await, Ok(Err(OperateError::NotRunning("a".to_owned()))));
}

#[actix::test]
async fn restarted_supervisor_keeps_added_children_and_does_not_start_removed_ones() {
    hook();
    let branch = Mailbox::<Supervisor>::new();
    let [first, removed, added, temporary] =
        ["first", "removed", "added", "temporary"].map(|id| Subject::new(id, &EventLog::default()));
    let spec = supervisor(Strategy::OneForOne, [first.spec(), removed.spec()]);
    let root = start(supervisor(Strategy::OneForOne, [ChildSpec::supervisor("branch", &branch, spec)]), options());
    assert_eq!(removed.ping().await, 1);
    let stop = StopChild { id: "removed".to_owned() };
    assert_eq!(branch.port().ask(stop, CEILING).await, Ok(Ok(())));
    for spec in [added.spec(), temporary.spec().restart(Restart::Temporary)] {
        assert_eq!(branch.port().ask(StartChild(spec), CEILING).await, Ok(Ok(())));
    }
    assert_eq!((added.ping().await, temporary.ping().await), (1, 1));
    inject(&root, "branch", Fault::PanicInTimer).await;
    until_generation(&root, "branch", 2).await;
    assert_eq!((first.ping().await, added.ping().await), (2, 2));
    let tree = root.board().snapshot();
    let ids: Vec<_> = tree.find("branch").unwrap().children.iter().map(|child| child.id.as_str()).collect();
    assert_eq!(ids, ["first", "added"]);
}

#[actix::test]
async fn stopping_supervisor_starts_no_child() {
    let subject = Subject::new("slow", &EventLog::default());
    let root = tree(Strategy::OneForOne, [subject.spec().grace(CEILING)]);
    assert_eq!(subject.ping().await, 1);
    inject(&root, "slow", Fault::SlowStop(Duration::from_millis(300))).await;
    let (stopping, port) = (root.clone(), root.port());
    let stop = actix::spawn(async move { stopping.stop().await });
    until_state(&root, "slow", ChildState::Stopping).await;
    let late = StartChild(Subject::new("late", &EventLog::default()).spec());
    assert_eq!(port.ask(late, CEILING).await, Ok(Err(StartChildError::Closing)));
    assert_eq!(refused(&root, "slow", OperatorCommand::Restart).await, OperateError::Closing);
    stop.await.expect("the stop completes");
}

#[actix::test]
async fn tree_is_serialized_as_json_with_stable_words() {
    let subject = Subject::new("a", &EventLog::default());
    let root = tree(Strategy::OneForOne, [subject.spec()]);
    subject.crash();
    until_generation(&root, "a", 2).await;
    let mut json = Vec::new();
    root.board().snapshot().write_json(&mut json).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let child = &json["children"][0];
    assert_eq!((&json["kind"], &child["kind"]), (&"supervisor".into(), &"worker".into()));
    assert_eq!((&child["state"], &child["last_exit"]["word"]), (&"running".into(), &"panic".into()));
    let started: jiff::Timestamp = child["started_at"].as_str().unwrap().parse().unwrap();
    assert!(started <= jiff::Timestamp::now());
    assert!(child["heartbeat_age_ms"].is_u64());
}

#[actix::test]
async fn child_with_a_bad_id_is_refused_and_nothing_starts() {
    hook();
    let log = EventLog::default();
    let named = |id: &str| Subject::new(id, &log).spec();
    let start = |spec| Root::start(spec, options()).map(|_| ()).map_err(|error| error.to_string());
    let below = |children| ChildSpec::supervisor("below", &Mailbox::new(), supervisor(Strategy::OneForOne, children));
    for id in ["", "a/b", "/"] {
        let expected = Err(format!("child id {id:?} is empty or contains a slash"));
        assert_eq!(start(supervisor(Strategy::OneForOne, [named("a"), named(id)])), expected);
        assert_eq!(start(supervisor(Strategy::OneForOne, [below(vec![named(id)])])), expected);
    }
    let twice = supervisor(Strategy::OneForOne, [below(vec![named("a"), named("b"), named("a")])]);
    assert_eq!(start(twice), Err("child id \"a\" is taken".to_owned()));
    assert_eq!(log.lines("+"), [""; 0]);
    let branch = Mailbox::new();
    let root =
        tree(Strategy::OneForOne, [ChildSpec::supervisor("branch", &branch, supervisor(Strategy::OneForOne, []))]);
    until_state(&root, "branch", ChildState::Running).await;
    let answer = branch.port().ask(StartChild(named("x/y")), CEILING).await.expect("the supervisor answers");
    assert_eq!(answer, Err(StartChildError::Spec(SpecError::InvalidId("x/y".to_owned()))));
}

#[test]
fn tree_outside_an_actix_system_is_refused() {
    let spec = supervisor(Strategy::OneForOne, []);
    assert_eq!(Root::start(spec, options()).map(|_| ()), Err(StartError::NoSystem));
}
