//! A mailbox that outlives the actor behind it.
//!
//! `actix` gives every incarnation a mailbox of its own. Here the mailbox is made first, senders hold
//! [`Port`]s into it, and each incarnation is fed from it. The bound of actix cannot be relied on
//! (a fresh clone of an address always gets one message in), so the [`Gauge`] counts and bounds at the sender.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, Waker};

use actix::dev::channel::{self, AddressReceiver, AddressSender};
use actix::dev::{Envelope, ToEnvelope};
use actix::{Actor, Addr, Context, Handler, Message};
use futures_util::Stream;

use crate::gauge::Gauge;
use crate::locked::locked;
use crate::port::Port;

/// Default limit of messages that wait in a mailbox; far above what a healthy actor leaves unhandled.
pub const DEFAULT_LIMIT: usize = 65_536;

/// The mailbox of one child, which outlives its incarnations. Cheap to clone; clones are the same mailbox.
///
/// Messages sent while the child restarts wait here and are handled by the next incarnation.
pub struct Mailbox<A: Actor> {
    sender: AddressSender<A>,
    /// Locked for the length of one take, never across a handler.
    inbox: Arc<Mutex<Inbox<A>>>,
    gauge: Arc<Gauge>,
}

/// The receiving end, and the number of the reader that may take from it.
struct Inbox<A: Actor> {
    receiver: AddressReceiver<A>,
    /// Number of the only [`MailboxReader`] that may take.
    reader: u64,
    /// Wakes that reader when it is superseded.
    waker: Option<Waker>,
}

/// Takes messages from a [`Mailbox`]. Only the newest reader can, so a superseded incarnation receives none, also if its thread
/// hangs.
pub(crate) struct MailboxReader<A: Actor> {
    inbox: Arc<Mutex<Inbox<A>>>,
    gauge: Arc<Gauge>,
    number: u64,
}

impl<A: Actor<Context = Context<A>>> Mailbox<A> {
    /// An empty mailbox that holds at most [`DEFAULT_LIMIT`] messages.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(DEFAULT_LIMIT)
    }

    /// An empty mailbox that holds at most `limit` messages; further ones are refused and counted.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        // Capacity 0 means unbounded to actix; the gauge bounds.
        let (sender, receiver) = channel::channel(0);
        Self {
            sender,
            inbox: Arc::new(Mutex::new(Inbox { receiver, reader: 0, waker: None })),
            gauge: Arc::new(Gauge::new(limit)),
        }
    }

    /// A port for one type of message.
    #[must_use]
    pub fn port<M>(&self) -> Port<M>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        Port::new(Addr::new(self.sender.clone()).recipient(), Arc::clone(&self.gauge))
    }

    /// The counts of this mailbox.
    #[must_use]
    pub fn gauge(&self) -> &Arc<Gauge> {
        &self.gauge
    }

    /// Supersedes the previous reader.
    pub(crate) fn reader(&self) -> MailboxReader<A> {
        let (number, superseded) = {
            let mut inbox = locked(&self.inbox);
            inbox.reader += 1;
            (inbox.reader, inbox.waker.take())
        };
        if let Some(waker) = superseded {
            waker.wake();
        }
        MailboxReader { inbox: Arc::clone(&self.inbox), gauge: Arc::clone(&self.gauge), number }
    }
}

impl<A: Actor<Context = Context<A>>> MailboxReader<A> {
    /// The next message. `None` once superseded, and once there is no sender left.
    pub(crate) fn poll_take(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Envelope<A>>> {
        let taken = {
            let mut inbox = locked(&self.inbox);
            // Checked under the lock: a superseded reader would otherwise overwrite the waker of the next one.
            if inbox.reader != self.number {
                return Poll::Ready(None);
            }
            let mut taken = Pin::new(&mut inbox.receiver).poll_next(cx);
            if taken.is_pending() && !inbox.receiver.connected() {
                // The drop of the last sender wakes this task, but the stream does not end by itself, and may still hold a message.
                taken = match Pin::new(&mut inbox.receiver).poll_next(cx) {
                    Poll::Pending => Poll::Ready(None),
                    last @ Poll::Ready(_) => last,
                };
            }
            if taken.is_pending() && !inbox.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                inbox.waker = Some(cx.waker().clone());
            }
            taken
        };
        if let Poll::Ready(Some(_)) = &taken {
            self.gauge.leave();
        }
        taken
    }

    /// Drops every message, so that callers get [`AskError::Closed`](crate::AskError::Closed) at once, until superseded.
    pub(crate) async fn drain(mut self) {
        while let Some(envelope) = std::future::poll_fn(|cx| self.poll_take(cx)).await {
            drop(envelope);
        }
    }
}

impl<A: Actor<Context = Context<A>>> Default for Mailbox<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Actor> Clone for Mailbox<A> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), inbox: Arc::clone(&self.inbox), gauge: Arc::clone(&self.gauge) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Idle;

    impl Actor for Idle {
        type Context = Context<Self>;
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Hello;

    impl Handler<Hello> for Idle {
        type Result = ();

        fn handle(&mut self, _: Hello, _: &mut Self::Context) {}
    }

    #[actix::test]
    async fn draining_ends_with_the_last_sender_and_leaves_nothing_behind() {
        let mailbox: Mailbox<Idle> = Mailbox::new();
        let (port, inbox) = (mailbox.port::<Hello>(), Arc::downgrade(&mailbox.inbox));
        let draining = crate::spawn(mailbox.reader().drain());
        let answer = port.ask(Hello, std::time::Duration::from_secs(5)).await;
        assert_eq!(answer, Err(super::super::AskError::Closed), "the caller gets an answer at once");
        drop((mailbox, port));
        tokio::time::timeout(std::time::Duration::from_secs(5), draining).await.unwrap().unwrap();
        assert!(inbox.upgrade().is_none(), "the mailbox is dropped");
    }
}
