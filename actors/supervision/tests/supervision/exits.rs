//! The exits of children, reported to a port.

use std::time::Duration;

use actix::prelude::*;
use caduceus_supervision::{
    AskError, ChildExited, ChildSpec, ExitReason, Fault, Mailbox, Port, Restart, RootHandle, RootOptions, SpecError,
    StartChild, StartChildError, StopChild, Strategy, Supervisor, WorkerThread,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::support::{
    CEILING, EventLog, Ping, Subject, hook, inject, options, start, supervisor, until, until_generation,
    with_hang_detection, within,
};

/// Longer than the detection takes, also on a busy machine.
const HANG: Duration = Duration::from_secs(4);

/// Forwards exits to the test.
struct ExitRecorder(UnboundedSender<ChildExited>);

impl Actor for ExitRecorder {
    type Context = Context<Self>;
}

impl Handler<ChildExited> for ExitRecorder {
    type Result = ();
    fn handle(&mut self, exited: ChildExited, _: &mut Self::Context) {
        self.0.send(exited).expect("the test receives");
    }
}

/// A tree with an empty supervisor `turns`, its mailbox, and the exits of its children.
fn tree_with_exit_reports() -> (RootHandle, Mailbox<Supervisor>, UnboundedReceiver<ChildExited>) {
    tree_on(None, options())
}

/// The same, with `turns` on a thread of its own.
fn tree_on(
    thread: Option<&WorkerThread>,
    options: RootOptions,
) -> (RootHandle, Mailbox<Supervisor>, UnboundedReceiver<ChildExited>) {
    hook();
    let (reports, exits) = unbounded_channel();
    let listener: Port<ChildExited> = ExitRecorder(reports).start().into();
    let turns = Mailbox::<Supervisor>::new();
    let spec = ChildSpec::supervisor("turns", &turns, supervisor(Strategy::OneForOne, []).report_exits(listener));
    let spec = match thread {
        Some(thread) => spec.on(thread),
        None => spec,
    };
    (start(supervisor(Strategy::OneForOne, [spec]), options), turns, exits)
}

#[actix::test]
async fn temporary_child_leaves_the_tree_and_its_exit_is_reported() {
    let (root, turns, mut exits) = tree_with_exit_reports();
    let subject = Subject::new("turn-1", &EventLog::default());
    let start = || StartChild(subject.spec().restart(Restart::Temporary));
    assert_eq!(turns.port().ask(start(), CEILING).await, Ok(Ok(())));
    let taken = StartChildError::Spec(SpecError::DuplicateId("turn-1".to_owned()));
    assert_eq!(turns.port().ask(start(), CEILING).await, Ok(Err(taken)));
    assert_eq!(subject.ping().await, 1);
    subject.crash();
    let exited = exits.recv().await.expect("the supervisor reports exits");
    assert_eq!((exited.path(), exited.generation(), exited.reason.word()), ("turns/turn-1", 1, "panic"));
    until(&root, "the turn's removal from the tree", |tree| tree.find("turns/turn-1").is_none()).await;
    assert_eq!(subject.mailbox.port().ask(Ping, CEILING).await, Err(AskError::Closed));
    // Id and mailbox can be used again.
    assert_eq!(turns.port().ask(start(), CEILING).await, Ok(Ok(())));
    assert_eq!(subject.ping().await, 1);
    let stop = StopChild { id: "turn-1".to_owned() };
    assert_eq!(turns.port().ask(stop, CEILING).await, Ok(Ok(())));
    assert_eq!(exits.recv().await.map(|exited| exited.reason), Some(ExitReason::Shutdown));
}

#[actix::test]
async fn exits_of_the_children_of_a_supervisor_that_panics_are_reported() {
    let (root, turns, mut exits) = tree_with_exit_reports();
    let subjects = ["turn-1", "turn-2"].map(|id| Subject::new(id, &EventLog::default()));
    for subject in &subjects {
        let start = StartChild(subject.spec().restart(Restart::Temporary));
        assert_eq!(turns.port().ask(start, CEILING).await, Ok(Ok(())));
        assert_eq!(subject.ping().await, 1);
    }
    inject(&root, "turns", Fault::PanicInTimer).await;
    let mut ended = Vec::new();
    for _ in &subjects {
        let exited = within("the exit of a child", exits.recv()).await.expect("the supervisor reports exits");
        ended.push((exited.path().to_owned(), exited.generation(), exited.reason));
    }
    ended.sort_by(|one, other| one.0.cmp(&other.0));
    let killed = |path: &str| (path.to_owned(), 1, ExitReason::Killed);
    assert_eq!(ended, [killed("turns/turn-1"), killed("turns/turn-2")]);
}

#[actix::test]
async fn exits_that_did_not_fit_into_a_full_mailbox_are_reported_later_in_order() {
    hook();
    let (reports, mut exits) = unbounded_channel();
    // A receiver that is not started yet, with room for one message.
    let mailbox: Mailbox<ExitRecorder> = Mailbox::with_limit(1);
    let turns = Mailbox::<Supervisor>::new();
    let spec = supervisor(Strategy::OneForOne, []).report_exits(mailbox.port());
    let root = start(supervisor(Strategy::OneForOne, [ChildSpec::supervisor("turns", &turns, spec)]), options());
    for id in ["turn-1", "turn-2", "turn-3"] {
        let subject = Subject::new(id, &EventLog::default());
        let start = StartChild(subject.spec().restart(Restart::Temporary));
        assert_eq!(turns.port().ask(start, CEILING).await, Ok(Ok(())));
        assert_eq!(subject.ping().await, 1);
        subject.crash();
        until(&root, "the turn's removal from the tree", |tree| tree.find(&format!("turns/{id}")).is_none()).await;
    }
    assert!(mailbox.gauge().refused() >= 1, "the mailbox was full");
    let spec = ChildSpec::worker("listener", &mailbox, move |_: &_| ExitRecorder(reports.clone()));
    assert_eq!(root.port().ask(StartChild(spec), CEILING).await, Ok(Ok(())));
    for id in ["turn-1", "turn-2", "turn-3"] {
        let exited = within("the exit of a child", exits.recv()).await.expect("the supervisor reports exits");
        assert_eq!(exited.id(), id);
    }
    until(&root, "the count of what was refused", |tree| tree.find("listener").is_some_and(|node| node.refused >= 1))
        .await;
}

#[actix::test]
async fn exits_of_children_on_the_replaced_thread_of_their_supervisor_are_reported_once_by_its_next_incarnation() {
    let thread = WorkerThread::new("work");
    let (root, turns, mut exits) = tree_on(Some(&thread), with_hang_detection());
    let subjects = ["turn-1", "turn-2"].map(|id| Subject::new(id, &EventLog::default()));
    let on_thread = |subject: &Subject| StartChild(subject.spec().on(&thread).restart(Restart::Temporary));
    for subject in &subjects {
        assert_eq!(turns.port().ask(on_thread(subject), CEILING).await, Ok(Ok(())));
        assert_eq!(subject.ping().await, 1);
    }
    assert_eq!(root.board().snapshot().find("turns").unwrap().thread, "work");
    inject(&root, "turns/turn-1", Fault::HangThread(HANG)).await;
    // Its caller gets no answer as long as the thread is blocked.
    let blocked = actix::spawn(subjects[0].mailbox.port().ask(Ping, CEILING));
    let mut ended = Vec::new();
    for _ in &subjects {
        let exited = within("the exit of a child", exits.recv()).await.expect("the supervisor reports exits");
        ended.push((exited.path().to_owned(), exited.generation(), exited.reason));
    }
    ended.sort_by(|one, other| one.0.cmp(&other.0));
    let unresponsive = |path: &str| (path.to_owned(), 1, ExitReason::Unresponsive);
    assert_eq!(ended, [unresponsive("turns/turn-1"), unresponsive("turns/turn-2")]);
    until_generation(&root, "turns", 2).await;
    assert!(root.board().snapshot().find("turns").unwrap().children.is_empty());
    let next = Subject::new("turn-3", &EventLog::default());
    assert_eq!(turns.port().ask(on_thread(&next), CEILING).await, Ok(Ok(())));
    assert_eq!(next.ping().await, 1, "the next incarnation starts children on the new thread");
    // The blocked thread runs again and drops the old incarnation, which reports nothing.
    assert_eq!(blocked.await.unwrap(), Err(AskError::Closed));
    within("the stop", root.stop()).await;
    assert_eq!(root.join_threads(CEILING).await, 0);
    let last = exits.recv().await.expect("the supervisor reports exits");
    assert_eq!((last.id(), last.reason.clone()), ("turn-3", ExitReason::Shutdown));
    assert!(exits.try_recv().is_err(), "each exit is reported once");
}

#[actix::test]
async fn exit_of_a_child_that_is_given_up_on_a_blocked_thread_is_reported() {
    let (root, turns, mut exits) = tree_with_exit_reports();
    let subject = Subject::new("turn-1", &EventLog::default());
    let spec = subject.spec().restart(Restart::Temporary).grace(Duration::from_millis(20));
    let spec = spec.on(&WorkerThread::not_replaceable("blocked"));
    turns.port().ask(StartChild(spec), CEILING).await.unwrap().unwrap();
    subject.ping().await;
    inject(&root, "turns/turn-1", Fault::HangThread(HANG)).await;
    subject.mailbox.port::<Ping>().tell(Ping).unwrap();
    // The thread hangs once the message is taken; a stop that arrives before it would be carried out.
    let taken = async {
        while subject.mailbox.gauge().waiting() > 0 {
            tokio::task::yield_now().await;
        }
    };
    within("the message", taken).await;
    let begun = std::time::Instant::now();
    turns.port().ask(StopChild { id: "turn-1".to_owned() }, CEILING).await.unwrap().unwrap();
    let exited = within("the exit", exits.recv()).await.expect("it is reported");
    assert_eq!((exited.id(), exited.reason.word()), ("turn-1", "killed"));
    assert!(begun.elapsed() < HANG, "before the thread runs again");
}

/// Panics when it is dropped.
#[derive(Message)]
#[rtype(result = "()")]
struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("requested: panic in the drop of a message");
    }
}

struct Receiver;

impl Actor for Receiver {
    type Context = Context<Self>;
}

impl Handler<PanicsInDrop> for Receiver {
    type Result = ();
    fn handle(&mut self, message: PanicsInDrop, _: &mut Self::Context) {
        std::mem::forget(message);
    }
}

#[actix::test]
async fn messages_that_panic_when_a_closed_mailbox_drops_them_do_not_end_the_supervisor() {
    let (_root, turns, mut exits) = tree_with_exit_reports();
    let mailbox = Mailbox::<Receiver>::new();
    // They wait, because the child ends before it takes one.
    for _ in 0..3 {
        mailbox.port().tell(PanicsInDrop).unwrap();
    }
    let factory = |start: &caduceus_supervision::StartContext<Receiver>| {
        assert!(start.incarnation().generation() == 0, "requested: panic in the factory");
        Receiver
    };
    let spec = ChildSpec::worker("turn-1", &mailbox, factory).restart(Restart::Temporary);
    turns.port().ask(StartChild(spec), CEILING).await.unwrap().unwrap();
    let exited = within("the exit", exits.recv()).await.expect("it is reported");
    assert_eq!(exited.reason.word(), "panic");
    let other = Subject::new("turn-2", &EventLog::default());
    let spec = other.spec().restart(Restart::Temporary);
    turns.port().ask(StartChild(spec), CEILING).await.unwrap().unwrap();
    assert_eq!(other.ping().await, 1, "the same supervisor starts others");
}
