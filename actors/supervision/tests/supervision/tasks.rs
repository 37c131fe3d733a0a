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

/// Answers the messages of one poll together.
struct Together {
    tasks: ActorTasks<Self>,
    waiting: Vec<u32>,
    answered: mpsc::UnboundedSender<Vec<u32>>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Wanted(u32);

impl Together {
    fn answer(&mut self, _: &mut Context<Self>) {
        if !self.waiting.is_empty() {
            self.answered.send(std::mem::take(&mut self.waiting)).expect("the test receives");
        }
    }
}

impl Actor for Together {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.tasks.attach_with(ctx, Self::answer);
    }
}

impl Handler<Wanted> for Together {
    type Result = ();

    fn handle(&mut self, Wanted(number): Wanted, ctx: &mut Self::Context) {
        self.waiting.push(number);
        if number == 0 {
            // From a timer, which is polled after the futures.
            ctx.run_later(std::time::Duration::ZERO, |actor, _| {
                actor.waiting.push(9);
                actor.tasks.poll_again();
            });
        }
        if number == 4 {
            self.tasks.notify(async { Wanted(5) });
        }
    }
}

#[actix::test]
async fn what_comes_in_one_poll_is_handled_together_after_it() {
    let (answered, mut answers) = mpsc::unbounded_channel();
    let actor = Together { tasks: ActorTasks::default(), waiting: Vec::new(), answered }.start();
    for number in 1..=3 {
        actor.try_send(Wanted(number)).unwrap();
    }
    assert_eq!(within("the answer", answers.recv()).await, Some(vec![1, 2, 3]));
    actor.try_send(Wanted(4)).unwrap();
    assert_eq!(within("the answer", answers.recv()).await, Some(vec![4, 5]), "the message of a future is one of them");
    actor.try_send(Wanted(0)).unwrap();
    let mut later = within("the answer", answers.recv()).await.unwrap();
    if later.len() == 1 {
        later.extend(within("the answer to the timer", answers.recv()).await.unwrap());
    }
    assert_eq!(later, [0, 9]);
}
