//! Sends messages to an actor.
//!
//! A port drops what a fenced incarnation sends (see [`Incarnation`]). A [`Mailbox`](crate::Mailbox) behind it bounds and counts its
//! messages (see [`Gauge`](crate::Gauge)); a plain actix address does not.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::prelude::SendError;
use actix::{Actor, Addr, Handler, MailboxError, Message, Recipient};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::incarnation::Incarnation;

/// Sends messages of type `M` to one actor. A clone allocates nothing.
///
/// ```
/// use std::time::Duration;
/// use actix::prelude::*;
/// use caduceus_supervision::Port;
///
/// #[derive(Message)]
/// #[rtype(result = "u64")]
/// struct Double(u64);
///
/// struct Calculator;
///
/// impl Actor for Calculator {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<Double> for Calculator {
///     type Result = u64;
///     fn handle(&mut self, Double(number): Double, _: &mut Self::Context) -> u64 {
///         2 * number
///     }
/// }
///
/// # actix::System::new().block_on(async {
/// let port: Port<Double> = Calculator.start().into();
/// assert_eq!(port.ask(Double(21), Duration::from_secs(1)).await, Ok(42));
/// # });
/// ```
pub struct Port<M>
where
    M: Message + Send,
    M::Result: Send,
{
    target: Arc<dyn PortTarget<M>>,
}

/// The receiving side of a port: a [`Mailbox`](crate::Mailbox), or the address of an actor outside any tree.
pub(crate) trait PortTarget<M: Message>: Send + Sync {
    fn ask(&self, message: M) -> Result<PendingAnswer<M::Result>, TellError>;

    /// Returns the message if it was not sent.
    fn tell(&self, message: M) -> Result<(), (TellError, M)>;
}

/// An answer that may still come.
pub(crate) enum PendingAnswer<R> {
    Mailbox(oneshot::Receiver<R>),
    Address(BoxFuture<'static, Result<R, MailboxError>>),
    Several(BoxFuture<'static, Result<R, AskError>>),
}

impl<R> Future for PendingAnswer<R> {
    type Output = Result<R, AskError>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Mailbox(answer) => answer.poll_unpin(task).map_err(|_| AskError::Closed),
            Self::Address(answer) => answer.poll_unpin(task).map_err(|error| match error {
                MailboxError::Closed => AskError::Closed,
                MailboxError::Timeout => AskError::Timeout,
            }),
            Self::Several(answer) => answer.poll_unpin(task),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The actor is not running, or has lost this message; a retry may reach its next incarnation.
    #[error("the actor is not running")]
    Closed,
    /// The actor did not answer in time; it may still have acted.
    #[error("the actor did not answer in time")]
    Timeout,
    /// Its mailbox is full; it has not received the message.
    #[error("the actor's mailbox is full")]
    Full,
    /// The caller itself is fenced; nothing was sent.
    #[error("the caller is fenced")]
    Fenced,
}

/// Why a message was not sent. In every case the actor has not received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TellError {
    /// The actor has ended, and no restart is due.
    #[error("the actor is not running")]
    Closed,
    /// Its mailbox is full.
    #[error("the actor's mailbox is full")]
    Full,
    /// The sender itself is fenced.
    #[error("the sender is fenced")]
    Fenced,
}

impl<M> Port<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    pub(crate) fn new(target: Arc<dyn PortTarget<M>>) -> Self {
        Self { target }
    }

    pub(crate) fn target(&self) -> &dyn PortTarget<M> {
        &*self.target
    }

    /// Sends and waits for the answer, at most `timeout`.
    ///
    /// The message is sent before the future is first polled, so two asks made in order arrive in order. A
    /// future dropped before the actor reached the message withdraws it.
    ///
    /// # Errors
    /// [`AskError`]; only after [`AskError::Timeout`] and [`AskError::Closed`] may the actor have acted.
    pub fn ask(&self, message: M, timeout: Duration) -> impl Future<Output = Result<M::Result, AskError>> + use<M> {
        let sent = Self::check_fence().and_then(|()| self.target.ask(message));
        async move { tokio::time::timeout(timeout, sent?).await.unwrap_or(Err(AskError::Timeout)) }
    }

    /// Sends a notification without waiting for its result.
    ///
    /// # Errors
    /// [`TellError`]: the message was not sent.
    pub fn tell(&self, message: M) -> Result<(), TellError> {
        self.tell_or_return(message).map_err(|(error, _)| error)
    }

    /// As [`Port::tell`]; returns the message if it was not sent.
    ///
    /// # Errors
    /// [`TellError`], and the message.
    pub fn tell_or_return(&self, message: M) -> Result<(), (TellError, M)> {
        match Self::check_fence() {
            Ok(()) => self.target.tell(message),
            Err(error) => Err((error, message)),
        }
    }

    fn check_fence() -> Result<(), TellError> {
        if Incarnation::current_is_fenced() { Err(TellError::Fenced) } else { Ok(()) }
    }
}

impl From<TellError> for AskError {
    fn from(error: TellError) -> Self {
        match error {
            TellError::Closed => Self::Closed,
            TellError::Full => Self::Full,
            TellError::Fenced => Self::Fenced,
        }
    }
}

/// A port to an actor outside any tree, such as a stub in a test. It is not bounded.
impl<A, M> From<Addr<A>> for Port<M>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn from(address: Addr<A>) -> Self {
        Self::new(Arc::new(address.recipient()))
    }
}

impl<M> PortTarget<M> for Recipient<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn ask(&self, message: M) -> Result<PendingAnswer<M::Result>, TellError> {
        Ok(PendingAnswer::Address(self.send(message).boxed()))
    }

    fn tell(&self, message: M) -> Result<(), (TellError, M)> {
        self.try_send(message).map_err(|error| match error {
            SendError::Full(message) => (TellError::Full, message),
            SendError::Closed(message) => (TellError::Closed, message),
        })
    }
}

impl<M> Clone for Port<M>
where
    M: Message + Send,
    M::Result: Send,
{
    fn clone(&self) -> Self {
        Self { target: Arc::clone(&self.target) }
    }
}

impl<M> fmt::Debug for Port<M>
where
    M: Message + Send,
    M::Result: Send,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("message", &std::any::type_name::<M>()).finish_non_exhaustive()
    }
}
