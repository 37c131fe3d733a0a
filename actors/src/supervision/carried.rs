//! Futures that run outside an actor's context, for the incarnation that began them.
//!
//! What an actor's own context polls is its incarnation's by itself. `actix::spawn` and the answers of actix's `ResponseFuture` are
//! not: what they send after a wait would pass as nobody's, also once the incarnation is fenced. They are banned in favour of these.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, Message};
use tokio::task::JoinHandle;

use super::life::Life;

/// A future that is polled as the incarnation in which it was made: a [`Port`](super::Port) refuses what it sends once that is
/// fenced, and a panic in it is logged with the actor's name. Made outside any, it is nobody's.
#[must_use = "futures do nothing unless polled"]
pub struct Carried<T> {
    life: Option<Life>,
    future: Pin<Box<dyn Future<Output = T>>>,
}

impl<T> Carried<T> {
    /// Takes the current incarnation along.
    pub fn new(future: impl Future<Output = T> + 'static) -> Self {
        Self { life: Life::current(), future: Box::pin(future) }
    }
}

impl<T> Future for Carried<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<T> {
        let Self { life, future } = self.get_mut();
        match life {
            Some(life) => life.enter(|| future.as_mut().poll(task)),
            None => future.as_mut().poll(task),
        }
    }
}

impl<T> fmt::Debug for Carried<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").field("life", &self.life).finish_non_exhaustive()
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

/// Runs a task of the tree itself, which is no incarnation's.
#[expect(clippy::disallowed_methods, reason = "it acts for nobody")]
pub(super) fn spawn_outside(future: impl Future<Output = ()> + 'static) {
    actix::spawn(future);
}

/// What a handler answers once a future that needs nothing of the actor is through.
#[must_use = "an answer has to be given"]
#[derive(Debug)]
pub struct ResponseFuture<T>(Carried<T>);

impl<T> ResponseFuture<T> {
    /// The answer is what `future` comes to. It goes on when the actor ends.
    pub fn new(future: impl Future<Output = T> + 'static) -> Self {
        Self(Carried::new(future))
    }

    /// The answer is known.
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
            // One who waits no more has given up.
            let _ = asker.map(|asker| asker.send(answer));
        });
    }
}
