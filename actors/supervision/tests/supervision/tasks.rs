//! The futures of one actor.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::prelude::*;
use caduceus_supervision::ActorTasks;
use tokio::sync::{mpsc, oneshot};

use crate::support::within;

/// Waits for one answer per number, and reports it.
struct Waiting {
    tasks: ActorTasks<Self>,
    answers: Vec<oneshot::Receiver<()>>,
    polls: Arc<AtomicUsize>,
    done: mpsc::UnboundedSender<usize>,
    /// Ends itself as soon as a future has completed.
    ends: bool,
}

impl Actor for Waiting {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.tasks.attach(ctx);
        for (number, mut answer) in std::mem::take(&mut self.answers).into_iter().enumerate() {
            let polls = Arc::clone(&self.polls);
            let counted = poll_fn(move |task| {
                polls.fetch_add(1, Ordering::SeqCst);
                Pin::new(&mut answer).poll(task).map(drop)
            });
            self.tasks.spawn(counted, move |(), actor, _| actor.done.send(number).expect("the test receives"));
        }
        // Added while the others wait.
        self.tasks.spawn(async {}, |(), actor, ctx| {
            actor.done.send(usize::MAX).expect("the test receives");
            if actor.ends {
                ctx.stop();
            }
        });
    }
}

#[actix::test]
async fn an_answer_costs_one_poll_however_many_futures_wait() {
    const WAITING: usize = 1_000;
    let polls = Arc::new(AtomicUsize::new(0));
    let (done, mut finished) = mpsc::unbounded_channel();
    let (answer, answers): (Vec<_>, Vec<_>) = (0..WAITING).map(|_| oneshot::channel()).unzip();
    let _actor =
        Waiting { tasks: ActorTasks::default(), answers, polls: Arc::clone(&polls), done, ends: false }.start();
    assert_eq!(within("the future that does not wait", finished.recv()).await, Some(usize::MAX));
    assert_eq!(polls.load(Ordering::SeqCst), WAITING, "each was polled once");
    for (number, answer) in answer.into_iter().enumerate() {
        answer.send(()).unwrap();
        assert_eq!(within("the answer", finished.recv()).await, Some(number));
    }
    assert_eq!(polls.load(Ordering::SeqCst), 2 * WAITING, "each was polled once more");
}

#[actix::test]
async fn futures_are_dropped_with_their_actor() {
    let (done, mut finished) = mpsc::unbounded_channel();
    let (answer, waits) = oneshot::channel();
    let polls = Arc::default();
    let actor = Waiting { tasks: ActorTasks::default(), answers: vec![waits], polls, done, ends: true }.start();
    assert_eq!(within("the future that does not wait", finished.recv()).await, Some(usize::MAX));
    assert_eq!(within("the end of the actor", finished.recv()).await, None);
    assert!(!actor.connected() && answer.send(()).is_err(), "the future is dropped");
}
