//! Futures that run outside an actor's context and belong to the incarnation that created them.
//!
//! Futures in an actor's own context belong to its incarnation. Futures of `actix::spawn` and of actix's `ResponseFuture` do
//! not, so a fence would not stop what they send after a wait. Use the types of this module instead.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, Message};
use tokio::task::JoinHandle;

use crate::incarnation::Incarnation;

/// A future that belongs to the incarnation in which it was created: a [`Port`](crate::Port) refuses what it sends once the
/// incarnation is fenced, and a panic in it is logged with the actor's name. Created outside any incarnation, it belongs to none.
#[must_use = "futures do nothing unless polled"]
pub struct IncarnationFuture<T> {
    incarnation: Option<Incarnation>,
    future: Pin<Box<dyn Future<Output = T>>>,
}

impl<T> IncarnationFuture<T> {
    /// Binds `future` to the current incarnation.
    pub fn new(future: impl Future<Output = T> + 'static) -> Self {
        Self { incarnation: Incarnation::current(), future: Box::pin(future) }
    }
}

impl<T> Future for IncarnationFuture<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<T> {
        let Self { incarnation, future } = self.get_mut();
        match incarnation {
            Some(incarnation) => incarnation.enter(|| future.as_mut().poll(task)),
            None => future.as_mut().poll(task),
        }
    }
}

impl<T> fmt::Debug for IncarnationFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncarnationFuture").field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}

/// Runs `future` on this thread, for the current incarnation. It continues when the incarnation ends.
///
/// # Panics
/// Outside an actix `System`.
#[expect(clippy::disallowed_methods, reason = "the only place; the future is bound to its incarnation")]
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    actix::spawn(IncarnationFuture::new(future))
}

/// Runs a task of the tree itself, which belongs to no incarnation.
#[expect(clippy::disallowed_methods, reason = "it belongs to no incarnation")]
pub(crate) fn spawn_outside(future: impl Future<Output = ()> + 'static) {
    actix::spawn(future);
}

/// The answer of a handler, from a future that does not use the actor.
#[must_use = "an answer has to be given"]
#[derive(Debug)]
pub struct ResponseFuture<T>(IncarnationFuture<T>);

impl<T> ResponseFuture<T> {
    /// The answer is the result of `future`, which continues when the actor ends.
    pub fn new(future: impl Future<Output = T> + 'static) -> Self {
        Self(IncarnationFuture::new(future))
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
    #[expect(clippy::disallowed_methods, reason = "the future is bound to its incarnation already")]
    fn handle(self, _: &mut A::Context, caller: Option<OneshotSender<T>>) {
        actix::spawn(async move {
            let answer = self.0.await;
            // A caller that no longer waits has timed out.
            let _ = caller.map(|caller| caller.send(answer));
        });
    }
}
