//! The one way in which actors, and the HTTP layer, send to an actor.
//!
//! A port bounds (see [`Gauge`]), fences (what a superseded instance sends is dropped, see [`Life`]) and is the only
//! place that sees a `MailboxError`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::prelude::SendError;
use actix::{Actor, Addr, Handler, MailboxError, Message, Recipient};

use super::life::Life;
use super::mailbox::Gauge;

/// A way in for messages of type `M`. Cheap to clone.
pub struct Port<M>
where
    M: Message + Send,
    M::Result: Send,
{
    recipient: Recipient<M>,
    gauge: Arc<Gauge>,
}

/// Why no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The actor is gone or has lost this message; worth retrying once it is back.
    #[error("the actor is not there")]
    Closed,
    /// It did not answer in time; it may still have acted.
    #[error("the actor did not answer in time")]
    Timeout,
    /// Its mailbox is full; it has not seen the message.
    #[error("the actor's mailbox is full")]
    Full,
    /// The asker itself has been superseded; nothing was sent.
    #[error("the asker has been superseded")]
    Fenced,
}

/// Why a message was not taken. In every case the actor has not seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TellError {
    /// The actor is gone for good.
    #[error("the actor is not there")]
    Closed,
    /// Its mailbox is full.
    #[error("the actor's mailbox is full")]
    Full,
    /// The sender itself has been superseded.
    #[error("the sender has been superseded")]
    Fenced,
}

impl<M> Port<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    pub(super) fn new(recipient: Recipient<M>, gauge: Arc<Gauge>) -> Self {
        Self { recipient, gauge }
    }

    /// Sends and waits for the answer, at most `patience`.
    ///
    /// The message is sent before the future is first polled, so two asks made in order arrive in order. A
    /// future dropped before the actor reached the message withdraws it.
    ///
    /// # Errors
    /// [`AskError`]; only after [`AskError::Timeout`] and [`AskError::Closed`] may the actor have acted.
    pub fn ask(&self, message: M, patience: Duration) -> impl Future<Output = Result<M::Result, AskError>> + use<M> {
        let sent = self.enter().map(|()| self.recipient.send(message));
        async move {
            match sent?.timeout(patience).await {
                Ok(answer) => Ok(answer),
                Err(MailboxError::Closed) => Err(AskError::Closed),
                Err(MailboxError::Timeout) => Err(AskError::Timeout),
            }
        }
    }

    /// Sends news whose answer nobody needs. It is handled even though nobody waits.
    ///
    /// # Errors
    /// [`TellError`]: the message was not taken.
    pub fn tell(&self, message: M) -> Result<(), TellError> {
        self.enter()?;
        self.recipient.try_send(message).map_err(|error| {
            self.gauge.leave();
            match error {
                SendError::Full(_) => TellError::Full,
                SendError::Closed(_) => TellError::Closed,
            }
        })
    }

    fn enter(&self) -> Result<(), TellError> {
        if Life::current_is_fenced() {
            return Err(TellError::Fenced);
        }
        if self.gauge.enter() { Ok(()) } else { Err(TellError::Full) }
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

/// A port to an actor outside any tree, such as a stub in a test.
impl<A, M> From<Addr<A>> for Port<M>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn from(address: Addr<A>) -> Self {
        Self { recipient: address.recipient(), gauge: Arc::new(Gauge::unbounded()) }
    }
}

impl<M> Clone for Port<M>
where
    M: Message + Send,
    M::Result: Send,
{
    fn clone(&self) -> Self {
        Self { recipient: self.recipient.clone(), gauge: Arc::clone(&self.gauge) }
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
