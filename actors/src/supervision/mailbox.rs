//! A mailbox that outlives the actor behind it.
//!
//! `actix` gives every incarnation a mailbox of its own; here the mailbox is made first, everyone holds
//! [`Port`]s into it, and each incarnation is fed from it. It has no bound of its own that can be trusted
//! (a fresh clone of an address always gets one message in), so the [`Gauge`] counts and bounds at the sender.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll, Waker};

use actix::dev::channel::{self, AddressReceiver, AddressSender};
use actix::dev::{Envelope, ToEnvelope};
use actix::{Actor, Addr, Context, Handler, Message};
use futures_util::Stream;

use super::port::Port;

/// Most messages that wait in a mailbox unless its maker says otherwise; far above what a healthy actor leaves lying.
pub const DEFAULT_LIMIT: usize = 65_536;

/// The outer mailbox of one child, the stable end of its name. Cheap to clone.
pub struct Mailbox<A: Actor> {
    sender: AddressSender<A>,
    /// Locked for the length of one take, never across a handler.
    inbox: Arc<Mutex<Inbox<A>>>,
    gauge: Arc<Gauge>,
}

/// The receiving end, and who may take from it.
struct Inbox<A: Actor> {
    receiver: AddressReceiver<A>,
    /// Number of the only [`Reader`] that may take.
    reader: u64,
    /// Wakes that reader, so that it learns that it has been superseded.
    waker: Option<Waker>,
}

/// The right to take from a [`Mailbox`]. The newest reader has it; those before it get nothing any more, which fences
/// off a superseded incarnation whatever its thread is doing.
pub(super) struct Reader<A: Actor> {
    inbox: Arc<Mutex<Inbox<A>>>,
    gauge: Arc<Gauge>,
    number: u64,
}

/// How full a mailbox is, and how many messages it refused.
#[derive(Debug)]
pub struct Gauge {
    limit: usize,
    waiting: AtomicUsize,
    refused: AtomicU64,
}

impl<A: Actor<Context = Context<A>>> Mailbox<A> {
    /// An empty mailbox that holds at most [`DEFAULT_LIMIT`] messages.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(DEFAULT_LIMIT)
    }

    /// An empty mailbox that holds at most `limit` messages; what comes above that is refused and counted.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        // Capacity 0 means unbounded to actix; the gauge bounds.
        let (sender, receiver) = channel::channel(0);
        Self {
            sender,
            inbox: Arc::new(Mutex::new(Inbox { receiver, reader: 0, waker: None })),
            gauge: Arc::new(Gauge { limit, waiting: AtomicUsize::new(0), refused: AtomicU64::new(0) }),
        }
    }

    /// A way in for one type of message.
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

    /// How full this mailbox is.
    #[must_use]
    pub fn gauge(&self) -> &Arc<Gauge> {
        &self.gauge
    }

    /// Supersedes the reader so far.
    pub(super) fn reader(&self) -> Reader<A> {
        let (number, superseded) = {
            let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
            inbox.reader += 1;
            (inbox.reader, inbox.waker.take())
        };
        if let Some(waker) = superseded {
            waker.wake();
        }
        Reader { inbox: Arc::clone(&self.inbox), gauge: Arc::clone(&self.gauge), number }
    }
}

impl<A: Actor<Context = Context<A>>> Reader<A> {
    /// The next message. `None` once superseded, and once nobody is left who could send.
    pub(super) fn poll_take(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Envelope<A>>> {
        let taken = {
            let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
            // Under the lock: a reader that looked before it was superseded would overwrite its successor's waker.
            if inbox.reader != self.number {
                return Poll::Ready(None);
            }
            let mut taken = Pin::new(&mut inbox.receiver).poll_next(cx);
            if taken.is_pending() && !inbox.receiver.connected() {
                // Whoever left last wakes us, but the stream does not end by itself. What it put in before is still to be had.
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

    /// Drops every message, so that askers learn at once that nobody will answer, until superseded.
    pub(super) async fn drain(mut self) {
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

impl Gauge {
    /// A gauge for messages that no mailbox of ours bounds, as in tests with a plain actix address.
    pub(super) fn unbounded() -> Self {
        Self { limit: usize::MAX, waiting: AtomicUsize::new(0), refused: AtomicU64::new(0) }
    }

    /// Messages that wait to be handled.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Messages refused since the start because the mailbox was full.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Takes a place, or counts a refusal.
    pub(super) fn enter(&self) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.limit {
            return true;
        }
        self.leave();
        self.refused.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Gives a place back.
    pub(super) fn leave(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
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
    async fn draining_ends_with_the_last_who_could_send_and_leaves_nothing_behind() {
        let mailbox: Mailbox<Idle> = Mailbox::new();
        let (port, inbox) = (mailbox.port::<Hello>(), Arc::downgrade(&mailbox.inbox));
        let draining = crate::supervision::spawn(mailbox.reader().drain());
        let asked = port.ask(Hello, std::time::Duration::from_secs(5)).await;
        assert_eq!(asked, Err(super::super::AskError::Closed), "the asker learns that nobody will answer");
        drop((mailbox, port));
        tokio::time::timeout(std::time::Duration::from_secs(5), draining).await.unwrap().unwrap();
        assert!(inbox.upgrade().is_none(), "the mailbox is gone");
    }
}
