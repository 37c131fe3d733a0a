//! A child that failed is restarted, and only the message that it was handling is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use caduceus_supervision::{
    AskError, Backoff, ChildState, ExitReason, Fatal, Fault, OperatorCommand, Restart, RestartPolicy, RootEnd,
    Strategy, WhenExceeded, WorkerThread,
};

use crate::support::{
    CEILING, EventLog, Ping, Subject, inject, last_word, once, operate, tree, unlimited, until_generation, until_node,
    until_state, within,
};

/// Messages sent while a fault is injected.
const REQUESTS: u64 = 1_200;

#[actix::test]
async fn crashed_child_answers_after_its_restart_and_its_exit_reason_is_redacted() {
    let subject = Subject::new("a", &EventLog::default());
    let root = tree(Strategy::OneForOne, [subject.spec().on(&WorkerThread::new("work"))]);
    assert_eq!(subject.ping().await, 1);
    subject.crash();
    assert_eq!(subject.ping().await, 2);
    let last = until_generation(&root, "a", 2).await.last_exit.expect("it has crashed");
    assert_eq!((last.word.as_str(), last.text.as_str()), ("panic", "panic: the secret is [redacted]"));
    root.stop().await;
    assert_eq!(root.join_threads(CEILING).await, 0);
}

/// Sends messages without pause while `fault` is injected; returns how many callers got the error that their message was lost.
async fn lost_while(fault: Fault) -> u64 {
    let subject = Subject::new("a", &EventLog::default());
    let root = tree(Strategy::OneForOne, [subject.spec().on(&WorkerThread::new("work"))]);
    assert_eq!(subject.ping().await, 1);
    let (sent, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (port, sent, lost) = (subject.mailbox.port(), Arc::clone(&sent), Arc::clone(&lost));
            actix::spawn(async move {
                let mut generation = 1;
                while generation == 1 || sent.load(Ordering::SeqCst) < REQUESTS {
                    sent.fetch_add(1, Ordering::SeqCst);
                    match port.ask(Ping, CEILING).await {
                        Ok(answered_by) => generation = answered_by,
                        Err(AskError::Closed) => _ = lost.fetch_add(1, Ordering::SeqCst),
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    inject(&root, "a", fault).await;
    for caller in callers {
        within("the last answer", caller).await.expect("no caller panics");
    }
    let node = until_generation(&root, "a", 2).await;
    assert_eq!(last_word(&node), "panic", "{fault:?}");
    assert_eq!(node.queue_depth, 0);
    assert!(sent.load(Ordering::SeqCst) >= REQUESTS);
    root.stop().await;
    lost.load(Ordering::SeqCst)
}

#[actix::test]
async fn panic_in_a_handler_loses_only_the_message_being_handled() {
    assert_eq!(lost_while(Fault::PanicInHandler).await, 1);
}

#[actix::test]
async fn panic_in_a_timer_loses_no_message() {
    assert_eq!(lost_while(Fault::PanicInTimer).await, 0);
}

#[actix::test]
async fn panic_in_an_atomic_response_loses_no_other_message() {
    assert_eq!(lost_while(Fault::PanicInResponse).await, 0);
}

#[actix::test]
async fn panic_in_started_loses_no_message() {
    assert_eq!(lost_while(Fault::PanicInStarted).await, 0);
}

#[actix::test]
async fn panic_in_the_factory_loses_no_message() {
    assert_eq!(lost_while(Fault::PanicInFactory).await, 0);
}

#[actix::test]
async fn panic_in_drop_is_contained_and_loses_no_message() {
    assert_eq!(lost_while(Fault::PanicInDrop).await, 0);
}

#[actix::test]
async fn hundred_crashes_lose_a_hundred_messages() {
    let subject = Subject::new("a", &EventLog::default());
    let root = tree(Strategy::OneForOne, [subject.spec().on(&WorkerThread::new("work"))]);
    for round in 1..=100 {
        subject.crash();
        let answers: Vec<_> = (0..10).map(|_| subject.mailbox.port().ask(Ping, CEILING)).collect();
        for answer in answers {
            assert_eq!(answer.await, Ok(round + 1), "sent after crash {round}, answered by the next incarnation");
        }
    }
    assert_eq!(subject.handled.load(Ordering::SeqCst), 1_000);
    assert_eq!(until_generation(&root, "a", 101).await.restarts_total, 100);
}

#[actix::test]
async fn messages_wait_through_the_backoff_and_the_callers_timeout_still_holds() {
    let hour = Duration::from_hours(1);
    let policy = RestartPolicy { backoff: Backoff::new(hour, hour).unwrap(), ..unlimited() };
    let subject = Subject::new("a", &EventLog::default());
    let root = tree(Strategy::OneForOne, [subject.spec().policy(policy)]);
    subject.crash();
    assert_eq!(subject.ping().await, 2, "the first restart in a window is immediate");
    subject.crash();
    let node = until_state(&root, "a", ChildState::Backoff).await;
    assert!(node.next_restart_in_ms.is_some_and(|left| left > 0));
    let short = subject.mailbox.port().ask(Ping, Duration::from_millis(1));
    let long = subject.mailbox.port().ask(Ping, CEILING);
    assert_eq!(short.await, Err(AskError::Timeout));
    assert_eq!(root.board().snapshot().find("a").unwrap().queue_depth, 2);
    operate(&root, "a", OperatorCommand::Reset).await;
    assert_eq!(long.await, Ok(3));
    assert_eq!(subject.handled.load(Ordering::SeqCst), 2, "the caller that timed out withdrew nothing");
}

#[actix::test]
async fn exceeded_intensity_fails_the_child_and_its_callers_get_an_error_at_once() {
    let (subject, sibling) = (Subject::new("a", &EventLog::default()), Subject::new("b", &EventLog::default()));
    let root = tree(Strategy::OneForOne, [subject.spec().policy(once(WhenExceeded::Fail)), sibling.spec()]);
    subject.crash();
    assert_eq!(subject.ping().await, 2);
    subject.crash();
    let waiting = subject.mailbox.port().ask(Ping, CEILING);
    assert_eq!(waiting.await, Err(AskError::Closed));
    let node = until_state(&root, "a", ChildState::Failed).await;
    assert_eq!((node.restarts_in_window, node.restarts_total), (1, 1));
    assert_eq!(subject.mailbox.port().ask(Ping, CEILING).await, Err(AskError::Closed));
    assert_eq!(sibling.ping().await, 1, "the sibling keeps running");
    operate(&root, "a", OperatorCommand::Reset).await;
    assert_eq!(subject.ping().await, 3);
    assert_eq!(until_generation(&root, "a", 3).await.restarts_in_window, 0);
}

#[actix::test]
async fn exceeded_intensity_escalates_to_the_root_which_stops_the_others_in_reverse() {
    let log = EventLog::default();
    let [a, b, c] = ["a", "b", "c"].map(|id| Subject::new(id, &log));
    let root = tree(Strategy::OneForOne, [a.spec(), b.spec().policy(once(WhenExceeded::Escalate)), c.spec()]);
    b.crash();
    assert_eq!(b.ping().await, 2);
    b.crash();
    let end = within("the end of the root", root.ended()).await;
    let RootEnd::IntensityExceeded { path, reason } = &end else { panic!("{end:?}") };
    assert_eq!((path.as_str(), reason.word()), ("b", "panic"));
    assert_eq!(log.lines("-"), ["-c", "-a"]);
}

#[actix::test]
async fn fatal_reason_fails_at_once_and_counts_no_restart() {
    let subject = Subject::new("a", &EventLog::default());
    let root = tree(Strategy::OneForOne, [subject.spec()]);
    subject.end_with(ExitReason::Fatal(Fatal { code: "revoked", detail: "the grant was revoked".to_owned() }));
    let node = until_state(&root, "a", ChildState::Failed).await;
    assert_eq!((last_word(&node), node.restarts_in_window, node.generation), ("revoked", 0, 1));
    operate(&root, "a", OperatorCommand::Reset).await;
    assert_eq!(subject.ping().await, 2);
}

#[actix::test]
async fn permanent_child_is_restarted_even_after_a_normal_end() {
    let subject = Subject::new("a", &EventLog::default());
    let root = tree(Strategy::OneForOne, [subject.spec()]);
    subject.end_with(ExitReason::Normal);
    assert_eq!(subject.ping().await, 2);
    assert_eq!(last_word(&until_generation(&root, "a", 2).await), "normal");
}

#[actix::test]
async fn transient_child_is_restarted_after_an_error_and_stays_stopped_after_a_normal_end() {
    let subject = Subject::new("a", &EventLog::default());
    let root = tree(Strategy::OneForOne, [subject.spec().restart(Restart::Transient)]);
    subject.end_with(ExitReason::Error("no route".to_owned()));
    assert_eq!(subject.ping().await, 2);
    subject.end_with(ExitReason::Normal);
    until_state(&root, "a", ChildState::Stopped).await;
    assert_eq!(subject.mailbox.port().ask(Ping, CEILING).await, Err(AskError::Closed));
}

#[actix::test]
async fn child_that_fails_at_every_start_ends_in_the_state_failed() {
    let subject = Subject::new("a", &EventLog::default());
    let spec =
        subject.spec().policy(RestartPolicy { max_restarts: 3, when_exceeded: WhenExceeded::Fail, ..unlimited() });
    let root = tree(Strategy::OneForOne, [spec]);
    // A commanded restart does not count, each panic counts one; the fourth exceeds the intensity.
    for _ in 0..4 {
        until_node(&root, "a", "running", |node| node.state == ChildState::Running).await;
        let before = root.board().snapshot().find("a").unwrap().generation;
        inject(&root, "a", Fault::PanicInStarted).await;
        let over = |node: &caduceus_supervision::TreeNode| {
            node.state == ChildState::Failed || (node.state == ChildState::Running && node.generation >= before + 2)
        };
        until_node(&root, "a", "past the fault", over).await;
    }
    assert_eq!(until_state(&root, "a", ChildState::Failed).await.restarts_in_window, 3);
}
