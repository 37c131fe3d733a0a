//! Temporary children, started many at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix::prelude::*;
use caduceus_supervision::{
    AskError, ChildExited, ChildSpec, ChildState, ExitReason, Fault, Mailbox, Port, Restart, RootHandle, SpecError,
    StartChild, StartChildError, StartChildren, StopChild, Strategy, Supervisor, TreeNode,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use crate::support::{CEILING, EventLog, Ping, Subject, hook, inject, options, start, supervisor, until, within};

/// Forwards exits to the test.
struct ExitForwarder(UnboundedSender<ChildExited>);

impl Actor for ExitForwarder {
    type Context = Context<Self>;
}

impl Handler<ChildExited> for ExitForwarder {
    type Result = ();
    fn handle(&mut self, exited: ChildExited, _: &mut Self::Context) {
        self.0.send(exited).expect("the test receives");
    }
}

/// A supervisor `turns` without children, and their exits.
struct Turns {
    root: RootHandle,
    mailbox: Mailbox<Supervisor>,
    exits: UnboundedReceiver<ChildExited>,
}

impl Turns {
    fn start() -> Self {
        hook();
        let (reports, exits) = unbounded_channel();
        let forwarder: Port<ChildExited> = ExitForwarder(reports).start().into();
        let mailbox = Mailbox::<Supervisor>::new();
        let spec = supervisor(Strategy::OneForOne, []).report_exits(forwarder);
        let spec = ChildSpec::supervisor("turns", &mailbox, spec);
        Self { root: start(supervisor(Strategy::OneForOne, [spec]), options()), mailbox, exits }
    }

    async fn start_children(&self, specs: Vec<ChildSpec>) -> Vec<Result<(), StartChildError>> {
        let specs = specs.into_iter().map(|spec| spec.restart(Restart::Temporary)).collect();
        self.mailbox.port().ask(StartChildren(specs), CEILING).await.expect("the supervisor answers")
    }

    async fn exit(&mut self) -> ChildExited {
        within("the exit of a child", self.exits.recv()).await.expect("the supervisor reports exits")
    }

    /// The ids of the next exits, sorted, which all have this reason.
    async fn exits(&mut self, count: usize, reason: &ExitReason) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let exited = self.exit().await;
            assert_eq!((exited.reason.word(), exited.path()), (reason.word(), &*format!("turns/{}", exited.id())));
            ids.push(exited.id().to_owned());
        }
        ids.sort();
        ids
    }
}

fn subjects<const N: usize>(ids: [&str; N]) -> [Subject; N] {
    ids.map(|id| Subject::new(id, &EventLog::default()))
}

/// Ends in its first poll.
struct EndsAtOnce;

impl Actor for EndsAtOnce {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// Ends when the test says so; counts the polls of all of its kind.
struct EndsTogether {
    end: watch::Receiver<bool>,
    polls: Arc<AtomicU64>,
}

impl Actor for EndsTogether {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (mut end, polls) = (self.end.clone(), Arc::clone(&self.polls));
        let ended = async move {
            let mut ended = std::pin::pin!(end.wait_for(|end| *end));
            std::future::poll_fn(|task| {
                polls.fetch_add(1, Ordering::Relaxed);
                ended.as_mut().poll(task).map(|result| drop(result.expect("the test holds the sender")))
            })
            .await;
        };
        ctx.spawn(ended.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

#[actix::test]
async fn batch_starts_its_valid_children_and_answers_in_order() {
    let mut turns = Turns::start();
    let [a, slash, again, b] = subjects(["a", "x/y", "a", "b"]);
    let answers = turns.start_children([&a, &slash, &again, &b].map(Subject::spec).into()).await;
    let invalid = StartChildError::Spec(SpecError::InvalidId("x/y".to_owned()));
    let taken = StartChildError::Spec(SpecError::DuplicateId("a".to_owned()));
    assert_eq!(answers, [Ok(()), Err(invalid), Err(taken), Ok(())]);
    assert_eq!((a.ping().await, b.ping().await), (1, 1));
    a.end_with(ExitReason::Normal);
    assert_eq!(turns.exits(1, &ExitReason::Normal).await, ["a"]);
    assert_eq!(turns.start_children(vec![again.spec()]).await, [Ok(())], "the id is free again");
    turns.root.stop().await;
    assert_eq!(turns.exits(2, &ExitReason::Shutdown).await, ["a", "b"]);
    assert_eq!(a.mailbox.port().ask(Ping, CEILING).await, Err(AskError::Closed));
}

#[actix::test]
async fn closing_supervisor_refuses_a_whole_batch() {
    let turns = Turns::start();
    let [stays] = subjects(["stays"]);
    assert_eq!(turns.start_children(vec![stays.spec()]).await, [Ok(())]);
    assert_eq!(stays.ping().await, 1);
    inject(&turns.root, "turns/stays", Fault::SlowStop(CEILING / 40)).await;
    let root = turns.root.clone();
    let stopping = actix::spawn(async move { root.stop().await });
    until(&turns.root, "the stop of the child", |tree| {
        tree.find("turns/stays").is_some_and(|child| child.state == ChildState::Stopping)
    })
    .await;
    let late = subjects(["late-1", "late-2"]).map(|subject| subject.spec());
    assert_eq!(turns.start_children(late.into()).await, [Err(StartChildError::Closing), Err(StartChildError::Closing)]);
    within("the stop", stopping).await.unwrap();
}

#[actix::test]
async fn child_that_ends_in_its_first_poll_is_reported_once_and_its_id_is_free() {
    let mut turns = Turns::start();
    for _ in 0..3 {
        let specs = ["a", "b"].map(|id| ChildSpec::worker(id, &Mailbox::new(), |_| EndsAtOnce));
        assert_eq!(turns.start_children(specs.into()).await, [Ok(()), Ok(())]);
        assert_eq!(turns.exits(2, &ExitReason::Normal).await, ["a", "b"]);
    }
    until(&turns.root, "an empty supervisor", |tree| tree.find("turns").unwrap().children.is_empty()).await;
    assert!(turns.exits.try_recv().is_err());
}

#[actix::test]
async fn panic_in_the_factory_of_a_temporary_child_is_its_exit_and_no_one_elses() {
    let mut turns = Turns::start();
    let ([sibling], mailbox) = (subjects(["sibling"]), Mailbox::<EndsAtOnce>::new());
    let broken = ChildSpec::worker("broken", &mailbox, |_| -> EndsAtOnce { panic!("the secret is hunter2") });
    assert_eq!(turns.start_children(vec![broken, sibling.spec()]).await, [Ok(()), Ok(())]);
    let exited = turns.exit().await;
    let reason = ExitReason::Panic("the secret is [redacted]".to_owned());
    assert_eq!((exited.id(), exited.generation(), &exited.reason), ("broken", 1, &reason));
    assert_eq!(sibling.ping().await, 1);
    let tree = turns.root.board().snapshot();
    assert_eq!((tree.find("turns").unwrap().generation, tree.find("turns").unwrap().restarts_total), (1, 0));
}

#[actix::test]
async fn restart_of_the_supervisor_reports_the_exits_before_it_and_those_it_causes() {
    hook();
    let (reports, mut exits) = unbounded_channel();
    // The receiver is not started, and its mailbox has room for one exit.
    let (receiver, turns) = (Mailbox::<ExitForwarder>::with_limit(1), Mailbox::<Supervisor>::new());
    let spec = supervisor(Strategy::OneForOne, []).report_exits(receiver.port());
    let root = start(supervisor(Strategy::OneForOne, [ChildSpec::supervisor("turns", &turns, spec)]), options());
    let [first, second, third] = subjects(["first", "second", "third"]);
    let specs = [&first, &second, &third].map(|subject| subject.spec().restart(Restart::Temporary));
    assert_eq!(turns.port().ask(StartChildren(specs.into()), CEILING).await, Ok(vec![Ok(()); 3]));
    for subject in [&first, &second] {
        subject.end_with(ExitReason::Normal);
        until(&root, "the removal of a child", |tree| tree.find(&format!("turns/{}", subject.id)).is_none()).await;
    }
    inject(&root, "turns", Fault::PanicInTimer).await;
    until(&root, "the restart", |tree| tree.find("turns").is_some_and(|turns| turns.generation == 2)).await;
    let start = StartChild(first.spec().restart(Restart::Temporary));
    assert_eq!(turns.port().ask(start, CEILING).await, Ok(Ok(())));
    assert_eq!(first.ping().await, 1, "the next incarnation starts children with ids that are free");
    let spec = ChildSpec::worker("receiver", &receiver, move |_: &_| ExitForwarder(reports.clone()));
    assert_eq!(root.port().ask(StartChild(spec), CEILING).await, Ok(Ok(())));
    for (id, word) in [("first", "normal"), ("second", "normal"), ("third", "killed")] {
        let exited = within("an exit", exits.recv()).await.expect("the supervisor reports exits");
        assert_eq!((exited.id(), exited.reason.word()), (id, word));
    }
    assert!(exits.try_recv().is_err(), "each is reported once");
    assert_eq!(third.mailbox.port().ask(Ping, CEILING).await, Err(AskError::Closed));
}

#[actix::test]
async fn many_children_in_turn_leave_those_beside_them_alone() {
    let mut turns = Turns::start();
    let staying: Vec<_> = (0..100).map(|n| Subject::new(&format!("stays-{n}"), &EventLog::default())).collect();
    turns.start_children(staying.iter().map(Subject::spec).collect()).await;
    for turn in 0..300 {
        let spec = ChildSpec::worker(format!("turn-{turn}"), &Mailbox::new(), |_| EndsAtOnce);
        assert_eq!(turns.start_children(vec![spec]).await, [Ok(())]);
        assert_eq!(turns.exit().await.id(), format!("turn-{turn}"));
    }
    for subject in &staying {
        assert_eq!(subject.ping().await, 1);
        let stop = StopChild { id: subject.id.clone() };
        assert_eq!(turns.mailbox.port().ask(stop, CEILING).await, Ok(Ok(())));
        assert_eq!(turns.exits(1, &ExitReason::Shutdown).await, std::slice::from_ref(&subject.id));
    }
    let children = |tree: &TreeNode| tree.find("turns").unwrap().children.len();
    until(&turns.root, "an empty supervisor", |tree| children(tree) == 0).await;
}

/// By counts, not by time: what an exit costs does not depend on the number of children.
#[actix::test]
async fn five_thousand_children_that_end_at_once_are_each_polled_and_reported_once() {
    const CHILDREN: usize = 5_000;
    let mut turns = Turns::start();
    let (end, polls) = (watch::Sender::new(false), Arc::new(AtomicU64::new(0)));
    let specs = (0..CHILDREN).map(|number| {
        let (ends, polls) = (end.subscribe(), Arc::clone(&polls));
        let factory = move |_: &_| EndsTogether { end: ends.clone(), polls: Arc::clone(&polls) };
        ChildSpec::worker(format!("turn-{number:04}"), &Mailbox::new(), factory)
    });
    assert_eq!(turns.start_children(specs.collect()).await, vec![Ok(()); CHILDREN]);
    let running = |node: &TreeNode| node.state == ChildState::Running;
    let board = turns.root.board();
    until(&turns.root, "the start of all", |tree| {
        tree.find("turns").unwrap().children.iter().all(|child| running(child))
    })
    .await;
    let (polls_before, changes_before) = (polls.load(Ordering::Relaxed), board.version());
    assert_eq!(polls_before, CHILDREN as u64, "the start of one child polls no other");
    end.send_replace(true);
    let ids = turns.exits(CHILDREN, &ExitReason::Normal).await;
    assert!(ids.iter().zip(0..).all(|(id, number)| *id == format!("turn-{number:04}")), "each is reported once");
    assert_eq!(polls.load(Ordering::Relaxed) - polls_before, CHILDREN as u64, "the end of one child polls no other");
    until(&turns.root, "an empty supervisor", |tree| tree.find("turns").unwrap().children.is_empty()).await;
    let changes = board.version() - changes_before;
    assert!(changes <= CHILDREN as u64 / 8, "exits are shown many at a time: {changes} changes");
    assert!(turns.exits.try_recv().is_err());
}
