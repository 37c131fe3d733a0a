//! Sends messages to an actor.
//!
//! A port bounds the mailbox (see [`Gauge`]), drops what a fenced incarnation sends (see [`Incarnation`]), and is the only place
//! that handles a `MailboxError`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::prelude::SendError;
use actix::{Actor, Addr, Handler, MailboxError, Message, Recipient};

use crate::gauge::Gauge;
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
    /// A clone of a recipient is an allocation, so clones of a port share one.
    shared: Arc<PortTarget<M>>,
}

struct PortTarget<M>
where
    M: Message + Send,
    M::Result: Send,
{
    recipient: Recipient<M>,
    gauge: Arc<Gauge>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The actor has ended or lost this message; a retry may reach its next incarnation.
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
    /// The actor has ended and has no next incarnation.
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
    pub(crate) fn new(recipient: Recipient<M>, gauge: Arc<Gauge>) -> Self {
        Self { shared: Arc::new(PortTarget { recipient, gauge }) }
    }

    /// Sends and waits for the answer, at most `timeout`.
    ///
    /// The message is sent before the future is first polled, so two asks made in order arrive in order. A
    /// future dropped before the actor reached the message withdraws it.
    ///
    /// # Errors
    /// [`AskError`]; only after [`AskError::Timeout`] and [`AskError::Closed`] may the actor have acted.
    pub fn ask(&self, message: M, timeout: Duration) -> impl Future<Output = Result<M::Result, AskError>> + use<M> {
        let sent = self.enter().map(|()| self.shared.recipient.send(message));
        async move {
            match sent?.timeout(timeout).await {
                Ok(answer) => Ok(answer),
                Err(MailboxError::Closed) => Err(AskError::Closed),
                Err(MailboxError::Timeout) => Err(AskError::Timeout),
            }
        }
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
        if let Err(error) = self.enter() {
            return Err((error, message));
        }
        self.shared.recipient.try_send(message).map_err(|error| {
            self.shared.gauge.leave();
            match error {
                SendError::Full(message) => (TellError::Full, message),
                SendError::Closed(message) => (TellError::Closed, message),
            }
        })
    }

    fn enter(&self) -> Result<(), TellError> {
        if Incarnation::current_is_fenced() {
            return Err(TellError::Fenced);
        }
        if self.shared.gauge.enter() { Ok(()) } else { Err(TellError::Full) }
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
        Self::new(address.recipient(), Arc::new(Gauge::unbounded()))
    }
}

impl<M> Clone for Port<M>
where
    M: Message + Send,
    M::Result: Send,
{
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
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
