//! The order of starts and stops, and which siblings restart together.

use std::time::Duration;

use caduceus_supervision::{
    ChildSpec, ChildState, Fault, Mailbox, OperatorCommand, Readiness, RootEnd, Strategy, WhenExceeded, WorkerThread,
};

use crate::support::{
    CEILING, EventLog, ReportReady, Subject, hook, inject, last_word, once, operate, options, start, supervisor, tree,
    until_generation, until_state, within,
};

fn three(log: &EventLog) -> [Subject; 3] {
    ["a", "b", "c"].map(|id| Subject::new(id, log))
}

#[actix::test]
async fn child_starts_only_once_those_before_it_are_ready() {
    let log = EventLog::default();
    let [a, b, c] = three(&log);
    let slow = b.spec().readiness(Readiness::Reported { within: CEILING }).on(&WorkerThread::new("slow"));
    let root = tree(Strategy::OneForOne, [a.spec(), slow, c.spec()]);
    log.until("+b").await;
    assert_eq!(root.board().snapshot().find("b").unwrap().state, ChildState::Starting);
    assert_eq!(log.lines("+"), ["+a", "+b"]);
    b.mailbox.port().tell(ReportReady).unwrap();
    until_state(&root, "c", ChildState::Running).await;
    assert_eq!(log.lines("+"), ["+a", "+b", "+c"]);
}

#[actix::test]
async fn child_that_is_not_ready_in_time_counts_as_failed_and_does_not_block_those_after_it() {
    let log = EventLog::default();
    let [a, b, _] = three(&log);
    let never = a.spec().readiness(Readiness::Reported { within: Duration::from_millis(20) });
    let root = tree(Strategy::OneForOne, [never.policy(once(WhenExceeded::Fail)), b.spec()]);
    let node = until_state(&root, "a", ChildState::Failed).await;
    assert_eq!((node.generation, last_word(&node)), (2, "error"));
    until_state(&root, "b", ChildState::Running).await;
}

#[actix::test]
async fn children_stop_in_reverse_order_one_at_a_time() {
    let log = EventLog::default();
    let [a, b, c] = three(&log);
    let work = WorkerThread::new("work");
    let root = tree(Strategy::OneForOne, [a.spec(), b.spec().on(&work), c.spec().on(&work)]);
    until_state(&root, "c", ChildState::Running).await;
    within("the stop", root.stop()).await;
    assert_eq!(log.lines("-~"), ["-c", "~c", "-b", "~b", "-a", "~a"]);
    assert_eq!(root.ended().await, RootEnd::Shutdown);
    assert_eq!(root.ended().await, RootEnd::Shutdown);
    assert_eq!(root.join_threads(CEILING).await, 0);
}

#[actix::test]
async fn child_that_stops_too_slowly_is_killed_after_its_grace() {
    let log = EventLog::default();
    let [a, b, _] = three(&log);
    let root = tree(Strategy::OneForOne, [a.spec(), b.spec().grace(Duration::from_millis(20))]);
    until_state(&root, "b", ChildState::Running).await;
    inject(&root, "b", Fault::SlowStop(10 * CEILING)).await;
    within("the stop", root.stop()).await;
    assert_eq!(log.lines("-~"), ["~b", "-a", "~a"], "b was dropped without a hook, then a was requested to stop");
    assert_eq!(last_word(root.board().snapshot().find("b").unwrap()), "killed");
}

#[actix::test]
async fn slow_stop_within_the_grace_runs_its_hooks() {
    let log = EventLog::default();
    let [a, ..] = three(&log);
    let root = tree(Strategy::OneForOne, [a.spec().grace(CEILING)]);
    until_state(&root, "a", ChildState::Running).await;
    inject(&root, "a", Fault::SlowStop(Duration::from_millis(30))).await;
    operate(&root, "a", OperatorCommand::Stop).await;
    assert_eq!(last_word(&until_state(&root, "a", ChildState::Stopped).await), "asked");
}

#[actix::test]
async fn one_for_all_restarts_every_sibling_and_counts_only_the_one_that_failed() {
    let log = EventLog::default();
    let [a, b, c] = three(&log);
    let root = tree(Strategy::OneForAll, [a.spec(), b.spec(), c.spec()]);
    until_state(&root, "c", ChildState::Running).await;
    b.crash();
    until_generation(&root, "c", 2).await;
    assert_eq!(log.lines("-"), ["-c", "-a"]);
    assert_eq!(log.lines("+")[3..], ["+a", "+b", "+c"]);
    let tree = root.board().snapshot();
    let counted = ["a", "b", "c"].map(|id| tree.find(id).unwrap().restarts_in_window);
    assert_eq!(counted, [0, 1, 0]);
}

#[actix::test]
async fn rest_for_one_restarts_those_after_the_one_that_failed() {
    let log = EventLog::default();
    let [a, b, c] = three(&log);
    let root = tree(Strategy::RestForOne, [a.spec(), b.spec(), c.spec()]);
    until_state(&root, "c", ChildState::Running).await;
    b.crash();
    until_generation(&root, "c", 2).await;
    assert_eq!(log.lines("-"), ["-c"]);
    assert_eq!(log.lines("+")[3..], ["+b", "+c"]);
    assert_eq!(a.ping().await, 1);
}

#[actix::test]
async fn subtree_is_ready_when_its_last_child_is() {
    let log = EventLog::default();
    let [a, b, c] = three(&log);
    let branch = Mailbox::new();
    let below =
        supervisor(Strategy::OneForOne, [a.spec(), b.spec().readiness(Readiness::Reported { within: CEILING })]);
    let root = tree(Strategy::OneForOne, [ChildSpec::supervisor("below", &branch, below), c.spec()]);
    log.until("+b").await;
    assert_eq!(root.board().snapshot().find("below").unwrap().state, ChildState::Starting);
    b.mailbox.port().tell(ReportReady).unwrap();
    until_state(&root, "c", ChildState::Running).await;
    assert_eq!(log.lines("+"), ["+a", "+b", "+c"]);
    within("the stop", root.stop()).await;
    assert_eq!(log.lines("-"), ["-c", "-b", "-a"]);
}

#[actix::test]
async fn subtree_that_exceeds_its_intensity_stops_its_children_and_counts_one_restart_above() {
    let log = EventLog::default();
    let [a, b, _] = three(&log);
    let branch = Mailbox::new();
    let below = supervisor(Strategy::OneForOne, [a.spec(), b.spec().policy(once(WhenExceeded::Escalate))]);
    let spec = ChildSpec::supervisor("below", &branch, below).policy(once(WhenExceeded::Escalate));
    hook();
    let root = start(supervisor(Strategy::OneForOne, [spec]), options());
    for generation in [1, 3] {
        until_generation(&root, "below/b", generation).await;
        b.crash();
        until_generation(&root, "below/b", generation + 1).await;
        b.crash();
    }
    let end = within("the end of the root", root.ended()).await;
    let RootEnd::IntensityExceeded { path, reason } = end else { panic!("{end:?}") };
    assert_eq!((path.as_str(), reason.word()), ("below", "error"));
    assert_eq!(log.lines("-"), ["-a", "-a"]);
}

#[actix::test]
async fn supervisor_that_panics_leaves_no_running_child() {
    let log = EventLog::default();
    let [a, ..] = three(&log);
    let branch = Mailbox::new();
    let below = supervisor(Strategy::OneForOne, [a.spec().on(&WorkerThread::new("work"))]);
    let spec = ChildSpec::supervisor("below", &branch, below).policy(once(WhenExceeded::Fail));
    let root = tree(Strategy::OneForOne, [spec]);
    assert_eq!(a.ping().await, 1);
    inject(&root, "below", Fault::PanicInTimer).await;
    log.until("~a").await;
    assert_eq!(a.ping().await, 2);
    until_generation(&root, "below/a", 2).await;
    inject(&root, "below", Fault::PanicInTimer).await;
    until_state(&root, "below", ChildState::Failed).await;
    let answer = a.mailbox.port().ask(crate::support::Ping, CEILING).await;
    assert!(answer.is_err(), "the mailboxes below a failed supervisor are closed too, got {answer:?}");
}
