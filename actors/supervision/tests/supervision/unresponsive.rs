//! Threads and actors without a heartbeat are fenced and replaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use caduceus_supervision::{
    AskError, ChildSpec, Fault, Mailbox, Port, RootEnd, RootHandle, RootOptions, Strategy, WorkerThread,
};

use crate::support::{
    BlockThenTell, CEILING, EventLine, EventLog, EventRecorder, Ping, Subject, TellAfter, UNRESPONSIVE_AFTER, hook,
    inject, last_word, start, supervisor, until_generation, with_hang_detection, within,
};

/// Longer than the detection takes, also on a busy machine.
const HANG: Duration = Duration::from_secs(4);

fn watched<const N: usize>(subjects: [&Subject; N], worker_thread: &WorkerThread) -> RootHandle {
    hook();
    start(
        supervisor(Strategy::OneForOne, subjects.map(|subject| subject.spec().on(worker_thread))),
        with_hang_detection(),
    )
}

#[actix::test]
async fn unresponsive_thread_is_replaced_and_its_actor_drops_the_message_unhandled() {
    let (a, b) = (Subject::new("a", &EventLog::default()), Subject::new("b", &EventLog::default()));
    let root = watched([&a, &b], &WorkerThread::new("data"));
    assert_eq!((a.ping().await, b.ping().await), (1, 1));
    inject(&root, "a", Fault::HangThread(HANG)).await;
    let in_progress = a.mailbox.port().ask(Ping, CEILING);
    let behind = a.mailbox.port().ask(Ping, CEILING);
    assert!(behind.await.expect("the new instance answers") >= 2);
    assert!(b.ping().await >= 2, "the sibling on the unresponsive thread is restarted, too");
    assert_eq!(last_word(&until_generation(&root, "a", 2).await), "unresponsive");
    assert_eq!(last_word(&until_generation(&root, "b", 2).await), "unresponsive");
    assert_eq!(in_progress.await, Err(AskError::Closed), "answered when the blocked thread runs again");
    assert_eq!(a.handled.load(Ordering::SeqCst), 2, "one before, one by the new instance");
    within("the stop", root.stop()).await;
    assert_eq!(root.join_threads(CEILING).await, 0, "the blocked thread runs again, so it can be joined as well");
}

#[actix::test]
async fn message_sent_by_a_fenced_instance_is_dropped() {
    let (log, notes) = (EventLog::default(), EventLog::default());
    let subject = Subject::new("a", &log);
    let root = watched([&subject], &WorkerThread::new("data"));
    assert_eq!(subject.ping().await, 1);
    let to: Port<EventLine> = EventRecorder(notes.clone()).start().into();
    subject.mailbox.port().tell(BlockThenTell { length: HANG, to: to.clone() }).unwrap();
    until_generation(&root, "a", 2).await;
    log.until("sent: Err(Fenced)").await;
    assert_eq!(to.ask(EventLine("from the current instance".to_owned()), CEILING).await, Ok(()));
    assert_eq!(notes.lines("fa"), ["from the current instance"]);
    log.until("~a").await;
    assert_eq!(log.lines("-"), Vec::<String>::new(), "no hook runs on a fenced instance");
}

#[actix::test]
async fn future_outside_the_context_belongs_to_the_incarnation_that_created_it() {
    for spawned in [true, false] {
        let (log, notes) = (EventLog::default(), EventLog::default());
        let subject = Subject::new("a", &log);
        let root = watched([&subject], &WorkerThread::new("data"));
        let to: Port<EventLine> = EventRecorder(notes.clone()).start().into();
        let tell = |after| subject.mailbox.port().tell(TellAfter { after, to: to.clone(), spawned }).unwrap();
        let (now, after) = tokio::sync::oneshot::channel();
        tell(after);
        now.send(()).unwrap();
        log.until("sent: Ok(())").await;
        let (now, after) = tokio::sync::oneshot::channel();
        tell(after);
        assert_eq!(subject.ping().await, 1, "the handler is running");
        subject.crash();
        until_generation(&root, "a", 2).await;
        now.send(()).unwrap();
        log.until("sent: Err(Fenced)").await;
        assert_eq!(to.ask(EventLine("the end".to_owned()), CEILING).await, Ok(()));
        assert_eq!(notes.lines("ft"), ["from outside", "the end"], "spawned: {spawned}");
    }
}

#[actix::test]
async fn actor_that_hangs_on_a_running_thread_is_replaced_alone() {
    let (a, b) = (Subject::new("a", &EventLog::default()), Subject::new("b", &EventLog::default()));
    let root = watched([&a, &b], &WorkerThread::new("data"));
    assert_eq!((a.ping().await, b.ping().await), (1, 1));
    inject(&root, "a", Fault::HangActor).await;
    let answer = a.mailbox.port().ask(Ping, CEILING).await;
    assert!(answer.is_ok_and(|generation| generation >= 2), "{answer:?}");
    assert_eq!(last_word(&until_generation(&root, "a", 2).await), "unresponsive");
    assert_eq!(b.ping().await, 1);
}

#[actix::test]
async fn third_unresponsive_thread_ends_the_tree() {
    let subject = Subject::new("a", &EventLog::default());
    let worker_thread = WorkerThread::new("data");
    let root = watched([&subject], &worker_thread);
    let beyond_the_test = 4 * CEILING;
    for generation in 1..=3 {
        until_generation(&root, "a", generation).await;
        inject(&root, "a", Fault::HangThread(beyond_the_test)).await;
        // Its caller gets no answer as long as the thread is blocked.
        actix::spawn(subject.mailbox.port().ask(Ping, CEILING));
    }
    let end = within("the end of the root", root.ended()).await;
    assert_eq!(end, RootEnd::TooManyUnresponsive);
    assert_eq!(root.join_threads(Duration::from_millis(10)).await, 3, "none of them can be joined");
}

#[actix::test]
async fn thread_that_is_not_replaceable_keeps_its_actors() {
    let subject = Subject::new("ledger", &EventLog::default());
    let root = watched([&subject], &WorkerThread::not_replaceable("ledger"));
    assert_eq!(subject.ping().await, 1);
    inject(&root, "ledger", Fault::HangThread(3 * UNRESPONSIVE_AFTER)).await;
    assert_eq!(subject.ping().await, 1, "the same instance answers");
    assert_eq!(root.board().snapshot().find("ledger").unwrap().generation, 1);
}

#[actix::test]
async fn check_that_was_held_up_reports_no_actor() {
    hook();
    let worker_thread = WorkerThread::new("data");
    let (here, there) = (Subject::new("here", &EventLog::default()), Subject::new("there", &EventLog::default()));
    let spec = supervisor(Strategy::OneForOne, [here.spec(), there.spec().on(&worker_thread)]);
    let root = start(spec, RootOptions { ..with_hang_detection() });
    assert_eq!((here.ping().await, there.ping().await), (1, 1));
    // Blocks the root's thread, and with it the heartbeat check and the actors there.
    std::thread::sleep(3 * UNRESPONSIVE_AFTER);
    assert_eq!((here.ping().await, there.ping().await), (1, 1));
    assert_eq!(root.board().snapshot().find("here").unwrap().generation, 1);
}

#[actix::test]
async fn stuck_blocking_call_leaves_its_thread_behind_and_holds_up_no_other() {
    let subject = Subject::new("a", &EventLog::default());
    let root = watched([&subject], &WorkerThread::new("data"));
    let (begun, stuck) = tokio::sync::oneshot::channel();
    // Dropped by the test at its end; the call is stuck until then.
    let (_release, released) = std::sync::mpsc::channel::<()>();
    subject.call_blocking(move || {
        begun.send(()).expect("the test waits");
        let _ = released.recv();
    });
    within("the blocking call", stuck).await.expect("it begins");
    within("the stop", root.stop()).await;
    let left = within("the join", root.join_threads(Duration::from_millis(200))).await;
    assert_eq!(left, 1);
}

/// Counts the polls of its context.
struct PolledActor(Arc<AtomicU64>);

impl Actor for PolledActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let polls = Arc::clone(&self.0);
        ctx.spawn(actix::fut::wrap_future(std::future::poll_fn(move |_| {
            polls.fetch_add(1, Ordering::SeqCst);
            std::task::Poll::Pending
        })));
    }
}

/// Reports every tenth of [`UNRESPONSIVE_AFTER`].
struct TickingActor(tokio::sync::watch::Sender<u64>);

impl Actor for TickingActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(UNRESPONSIVE_AFTER / 10, |actor, _| actor.0.send_modify(|ticks| *ticks += 1));
    }
}

#[actix::test]
async fn idle_actor_is_polled_once_in_the_time_after_which_it_is_unresponsive() {
    const PERIODS: u64 = 4;
    let (polls, worker_thread) = (Arc::<AtomicU64>::default(), WorkerThread::new("data"));
    let (ticks, mut ticked) = tokio::sync::watch::channel(0);
    let counted = Arc::clone(&polls);
    let idle = ChildSpec::worker("idle", &Mailbox::new(), move |_| PolledActor(Arc::clone(&counted)));
    let ticking = ChildSpec::worker("ticking", &Mailbox::new(), move |_| TickingActor(ticks.clone()));
    let children = [idle.on(&worker_thread), ticking.on(&worker_thread)];
    let root = start(supervisor(Strategy::OneForOne, children), with_hang_detection());
    within("the first ticks", ticked.wait_for(|ticks| *ticks >= 10)).await.expect("the actor runs");
    let (begin, before) = (std::time::Instant::now(), polls.load(Ordering::SeqCst));
    within("the ticks", ticked.wait_for(|ticks| *ticks >= 10 + 10 * PERIODS)).await.expect("the actor runs");
    let periods = begin.elapsed().as_micros().div_ceil(UNRESPONSIVE_AFTER.as_micros());
    let polled = u128::from(polls.load(Ordering::SeqCst) - before);
    assert!(polled <= periods + 1, "{polled} polls in {periods} periods");
    assert!(polled > 0, "it is still watched");
    let tree = root.board().snapshot();
    let age = tree.find("idle").and_then(|node| tree.heartbeat_age_ms(node));
    assert!(age.is_some(), "its age is that of its thread's heartbeat");
}

/// Answers with its generation. Its first factory blocks.
struct SlowToBuild(u64);

impl Actor for SlowToBuild {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "u64")]
struct GetGeneration;

impl Handler<GetGeneration> for SlowToBuild {
    type Result = u64;
    fn handle(&mut self, _: GetGeneration, _: &mut Self::Context) -> u64 {
        self.0
    }
}

#[actix::test]
async fn incarnation_whose_factory_returns_after_it_was_replaced_takes_no_message_from_its_successor() {
    hook();
    let mailbox = Mailbox::<SlowToBuild>::new();
    let (returned, mut returns) = tokio::sync::mpsc::unbounded_channel();
    let factory = move |start: &caduceus_supervision::StartContext<SlowToBuild>| {
        let generation = start.incarnation().generation();
        if generation == 1 {
            std::thread::sleep(HANG);
            returned.send(()).expect("the test receives");
        }
        SlowToBuild(generation)
    };
    let spec = ChildSpec::worker("slow", &mailbox, factory).on(&WorkerThread::new("data"));
    let root = start(supervisor(Strategy::OneForOne, [spec]), with_hang_detection());
    let port: Port<GetGeneration> = mailbox.port();
    assert_eq!(port.ask(GetGeneration, CEILING).await, Ok(2));
    within("the first factory", returns.recv()).await.expect("it returns");
    for _ in 0..100 {
        assert_eq!(port.ask(GetGeneration, CEILING).await, Ok(2));
        tokio::task::yield_now().await;
    }
    within("the stop", root.stop()).await;
    assert_eq!(root.join_threads(CEILING).await, 0);
}
