//! Many futures of one actor.
//!
//! A context polls every future that was spawned into it whenever one of them wakes, so that n requests in flight cost n polls for
//! each answer. These futures are one future of the context, which polls only what was woken.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll, Waker};

use actix::fut::ActorFuture;
use actix::{Actor, AsyncContext, Context, Handler, Message};
use futures_util::StreamExt as _;
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use futures_util::stream::FuturesUnordered;

/// Futures completed in one poll, before the other futures of the context are polled.
const BATCH: usize = 64;

/// Futures of an actor, each with the code that the actor runs on its result. They are dropped with the actor.
///
/// ```
/// use actix::prelude::*;
/// use caduceus_supervision::ActorTasks;
///
/// struct Adder {
///     sum: u64,
///     tasks: ActorTasks<Self>,
/// }
///
/// impl Actor for Adder {
///     type Context = Context<Self>;
///
///     fn started(&mut self, ctx: &mut Self::Context) {
///         self.tasks.attach(ctx);
///         self.tasks.spawn(async { 2 }, |number, actor, ctx| {
///             actor.sum += number;
///             ctx.stop();
///         });
///     }
///
///     fn stopped(&mut self, _: &mut Self::Context) {
///         assert_eq!(self.sum, 2);
///         System::current().stop();
///     }
/// }
///
/// let system = System::new();
/// system.block_on(async { Adder { sum: 0, tasks: ActorTasks::default() }.start() });
/// system.run().unwrap();
/// ```
pub struct ActorTasks<A: Actor>(Rc<RefCell<TaskSet<A>>>);

struct TaskSet<A: Actor> {
    futures: FuturesUnordered<LocalBoxFuture<'static, Continuation<A>>>,
    /// Wakes the context for a new future.
    waker: Option<Waker>,
    /// Called at the end of each poll.
    after: Option<fn(&mut A, &mut A::Context)>,
}

type Continuation<A> = Box<dyn FnOnce(&mut A, &mut <A as Actor>::Context)>;

impl<A: Actor<Context = Context<A>>> ActorTasks<A> {
    /// Makes `ctx` poll the futures. Called once, when the actor starts.
    pub fn attach(&self, ctx: &mut Context<A>) {
        ctx.spawn(PollTasks(Rc::clone(&self.0)));
    }

    /// As [`ActorTasks::attach`]; calls `after` when messages have been handled and results passed on, for what is done about all of
    /// them together.
    pub fn attach_with(&self, ctx: &mut Context<A>, after: fn(&mut A, &mut Context<A>)) {
        self.0.borrow_mut().after = Some(after);
        self.attach(ctx);
    }

    /// Polls once more, and so calls the function of [`ActorTasks::attach_with`].
    pub fn poll_again(&self) {
        if let Some(waker) = self.0.borrow_mut().waker.take() {
            waker.wake();
        }
    }

    /// Polls `future` from now on; `then` gets its result.
    pub fn spawn<T: 'static>(
        &self,
        future: impl Future<Output = T> + 'static,
        then: impl FnOnce(T, &mut A, &mut Context<A>) + 'static,
    ) {
        let continued =
            future.map(|result| -> Continuation<A> { Box::new(move |actor, ctx| then(result, actor, ctx)) });
        self.0.borrow_mut().futures.push(continued.boxed_local());
        self.poll_again();
    }

    /// Polls `future` from now on; nothing follows.
    pub fn run(&self, future: impl Future<Output = ()> + 'static) {
        self.spawn(future, |(), _, _| ());
    }

    /// Polls `future` from now on; the actor handles its result as a message to itself, in the same poll, so that it does not wait
    /// behind the messages in the mailbox.
    pub fn notify<M>(&self, future: impl Future<Output = M> + 'static)
    where
        A: Handler<M, Result = ()>,
        M: Message<Result = ()> + 'static,
    {
        self.spawn(future, |message, actor, ctx| actor.handle(message, ctx));
    }
}

impl<A: Actor> Default for ActorTasks<A> {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(TaskSet { futures: FuturesUnordered::new(), waker: None, after: None })))
    }
}

struct PollTasks<A: Actor>(Rc<RefCell<TaskSet<A>>>);

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for PollTasks<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, actor: &mut A, ctx: &mut Context<A>, task: &mut task::Context<'_>) -> Poll<()> {
        for _ in 0..BATCH {
            // Not borrowed while the actor runs, which may spawn.
            let polled = {
                let mut set = self.0.borrow_mut();
                let polled = set.futures.poll_next_unpin(task);
                if !matches!(polled, Poll::Ready(Some(_))) {
                    set.waker = Some(task.waker().clone());
                }
                polled
            };
            let Poll::Ready(Some(then)) = polled else {
                self.finish(actor, ctx);
                return Poll::Pending;
            };
            then(actor, ctx);
            if ctx.waiting() {
                // The context polls this again when the wait is over.
                return Poll::Pending;
            }
        }
        self.finish(actor, ctx);
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<A: Actor<Context = Context<A>>> PollTasks<A> {
    fn finish(&self, actor: &mut A, ctx: &mut Context<A>) {
        let after = self.0.borrow().after;
        if let Some(after) = after {
            after(actor, ctx);
        }
    }
}
