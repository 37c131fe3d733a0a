//! Futures that run outside an actor's context, for the incarnation that began them.
//!
//! What an actor's own context polls runs for its incarnation. `actix::spawn` and the answers of actix's `ResponseFuture` do
//! not: what they send after a wait would belong to no incarnation, and no fence would stop it. Use these instead.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, Message};
use tokio::task::JoinHandle;

use crate::incarnation::Incarnation;

/// A future that is polled as the incarnation in which it was made: a [`Port`](crate::Port) refuses what it sends once that is
/// fenced, and a panic in it is logged with the actor's name. Made outside any incarnation, it belongs to none.
#[must_use = "futures do nothing unless polled"]
pub struct Carried<T> {
    incarnation: Option<Incarnation>,
    future: Pin<Box<dyn Future<Output = T>>>,
}

impl<T> Carried<T> {
    /// Keeps the current incarnation for each poll.
    pub fn new(future: impl Future<Output = T> + 'static) -> Self {
        Self { incarnation: Incarnation::current(), future: Box::pin(future) }
    }
}

impl<T> Future for Carried<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<T> {
        let Self { incarnation, future } = self.get_mut();
        match incarnation {
            Some(incarnation) => incarnation.enter(|| future.as_mut().poll(task)),
            None => future.as_mut().poll(task),
        }
    }
}

impl<T> fmt::Debug for Carried<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}

/// Runs `future` on this thread, for the current incarnation. It is not ended with it.
///
/// # Panics
/// Outside an actix `System`.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    actix::spawn(Carried::new(future))
}

/// Runs a task of the tree itself, which belongs to no incarnation.
#[expect(clippy::disallowed_methods, reason = "it belongs to no incarnation")]
pub(crate) fn spawn_outside(future: impl Future<Output = ()> + 'static) {
    actix::spawn(future);
}

/// The answer of a handler by a future that needs nothing of the actor.
#[must_use = "an answer has to be given"]
#[derive(Debug)]
pub struct ResponseFuture<T>(Carried<T>);

impl<T> ResponseFuture<T> {
    /// The answer is the result of `future`, which continues when the actor ends.
    pub fn new(future: impl Future<Output = T> + 'static) -> Self {
        Self(Carried::new(future))
    }

    /// The answer is available at once.
    pub fn ready(answer: T) -> Self
    where
        T: 'static,
    {
        Self::new(std::future::ready(answer))
    }
}

impl<A, M, T> MessageResponse<A, M> for ResponseFuture<T>
where
    A: Actor,
    M: Message<Result = T>,
    T: 'static,
{
    #[expect(clippy::disallowed_methods, reason = "the incarnation is carried already")]
    fn handle(self, _: &mut A::Context, asker: Option<OneshotSender<T>>) {
        actix::spawn(async move {
            let answer = self.0.await;
            // A caller that no longer waits has timed out.
            let _ = asker.map(|asker| asker.send(answer));
        });
    }
}
