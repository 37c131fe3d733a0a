//! Behaviour of actix that the library depends on. If one of these tests fails, the library must be reviewed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

use actix::dev::channel;
use actix::prelude::*;

use crate::support::{hook, within};

/// Counts the messages it handles and the hooks it runs.
#[derive(Clone, Default)]
struct HookCounter {
    handled: Arc<AtomicU64>,
    hooks: Arc<AtomicU64>,
}

impl HookCounter {
    fn handled(&self) -> u64 {
        self.handled.load(Ordering::SeqCst)
    }

    fn hooks(&self) -> u64 {
        self.hooks.load(Ordering::SeqCst)
    }
}

impl Actor for HookCounter {
    type Context = Context<Self>;

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.hooks.fetch_add(1, Ordering::SeqCst);
        Running::Stop
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.hooks.fetch_add(1, Ordering::SeqCst);
    }
}

impl actix::Supervised for HookCounter {}

#[derive(Message)]
#[rtype(result = "()")]
struct Increment;

#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

impl Handler<Increment> for HookCounter {
    type Result = ();
    fn handle(&mut self, _: Increment, _: &mut Self::Context) {
        self.handled.fetch_add(1, Ordering::SeqCst);
    }
}

impl Handler<Panic> for HookCounter {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("requested by the test");
    }
}

#[actix::test]
async fn channel_of_capacity_0_is_unbounded() {
    let (sender, _receiver) = channel::channel::<HookCounter>(0);
    let address = Addr::new(sender);
    assert!((0..100_000).all(|_| address.try_send(Increment).is_ok()));
}

#[actix::test]
async fn fresh_clone_of_an_address_always_gets_one_message_past_the_bound() {
    let (sender, _receiver) = channel::channel::<HookCounter>(1);
    let address = Addr::new(sender);
    while address.try_send(Increment).is_ok() {}
    assert!((0..1_000).all(|_| address.clone().try_send(Increment).is_ok()));
}

#[actix::test]
async fn message_whose_caller_has_dropped_its_future_is_skipped_and_one_without_caller_is_not() {
    let counts = HookCounter::default();
    let address = counts.clone().start();
    drop(address.send(Increment));
    address.try_send(Increment).unwrap();
    address.send(Increment).await.unwrap();
    assert_eq!(counts.handled(), 2);
}

#[actix::test]
async fn panic_closes_the_mailbox_for_waiting_callers_and_hooks_still_run() {
    hook();
    let counts = HookCounter::default();
    let address = counts.clone().start();
    let (first, second) = (address.send(Panic), address.send(Increment));
    assert!(first.await.is_err());
    assert!(second.await.is_err(), "queued behind the panic");
    assert!(!address.connected());
    assert_eq!((counts.handled(), counts.hooks()), (0, 2));
}

#[actix::test]
async fn actix_supervisor_does_nothing_after_a_panic() {
    hook();
    let address = actix::Supervisor::start(|_| HookCounter::default());
    assert!(address.send(Panic).await.is_err());
    assert!(address.send(Increment).await.is_err());
    assert!(!address.connected());
}

#[actix::test]
async fn terminated_context_runs_no_hook_when_dropped_and_a_running_one_does() {
    let mut task = Task::from_waker(Waker::noop());
    for (terminate, hooks) in [(true, 0), (false, 2)] {
        let counts = HookCounter::default();
        let mut ctx = Context::<HookCounter>::new();
        ctx.spawn(actix::fut::wrap_future::<_, HookCounter>(std::future::pending()));
        let mut body = ctx.into_future(counts.clone());
        assert!(Pin::new(&mut body).poll(&mut task).is_pending());
        if terminate {
            body.ctx().terminate();
        }
        drop(body);
        assert_eq!(counts.hooks(), hooks);
    }
}

#[actix::test]
async fn panic_caught_outside_leaves_the_context_droppable() {
    hook();
    let counts = HookCounter::default();
    let mut ctx = Context::<HookCounter>::new();
    ctx.run_later(Duration::ZERO, |_, _| panic!("requested by the test"));
    let mut body = ctx.into_future(counts.clone());
    let polled = std::future::poll_fn(|task| {
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut body).poll(task).is_pending())) {
            Ok(pending) => {
                assert!(pending);
                Poll::Pending
            }
            Err(_) => Poll::Ready(()),
        }
    });
    within("the panic", polled).await;
    body.ctx().terminate();
    drop(body);
    assert_eq!(counts.hooks(), 0);
}

#[actix::test]
async fn nothing_spawned_is_polled_while_the_actor_waits() {
    let polls = Arc::new(AtomicU64::new(0));
    let mut ctx = Context::<HookCounter>::new();
    let seen = Arc::clone(&polls);
    ctx.spawn(actix::fut::wrap_future::<_, HookCounter>(std::future::poll_fn(move |_| {
        seen.fetch_add(1, Ordering::SeqCst);
        Poll::Pending
    })));
    ctx.wait(actix::fut::wrap_future::<_, HookCounter>(std::future::pending()));
    let mut body = ctx.into_future(HookCounter::default());
    let mut task = Task::from_waker(Waker::noop());
    for _ in 0..10 {
        assert!(Pin::new(&mut body).poll(&mut task).is_pending());
    }
    assert_eq!(polls.load(Ordering::SeqCst), 0);
}

#[actix::test]
async fn stop_reaches_an_actor_that_waits_without_end() {
    let counts = HookCounter::default();
    let mut ctx = Context::<HookCounter>::new();
    ctx.wait(actix::fut::wrap_future::<_, HookCounter>(std::future::pending()));
    let mut body = ctx.into_future(counts.clone());
    let mut task = Task::from_waker(Waker::noop());
    assert!(Pin::new(&mut body).poll(&mut task).is_pending());
    body.ctx().stop();
    assert!(Pin::new(&mut body).poll(&mut task).is_ready());
    assert_eq!(counts.hooks(), 2);
}

#[actix::test]
async fn stopped_arbiter_drops_what_was_spawned_on_it() {
    let arbiter = Arbiter::new();
    let (guard, gone) = tokio::sync::oneshot::channel::<()>();
    arbiter.spawn(async move {
        let _guard = guard;
        std::future::pending::<()>().await;
    });
    arbiter.stop();
    assert!(within("the drop", gone).await.is_err());
    assert!(arbiter.join().is_ok());
}
