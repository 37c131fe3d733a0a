//! A mailbox that outlives the actor behind it.
//!
//! `actix` gives every incarnation a mailbox of its own; here the mailbox is made first, everyone holds
//! [`Port`]s into it, and each incarnation is fed from it. It has no bound of its own that can be trusted
//! (a fresh clone of an address always gets one message in), so the [`Gauge`] counts and bounds at the sender.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use actix::dev::ToEnvelope;
use actix::dev::channel::{self, AddressReceiver, AddressSender};
use actix::{Actor, Addr, Context, Handler, Message};

use super::port::Port;

/// Most messages that wait in a mailbox unless its maker says otherwise; far above what a healthy actor leaves lying.
pub const DEFAULT_LIMIT: usize = 65_536;

/// The outer mailbox of one child, the stable end of its name. Cheap to clone.
pub struct Mailbox<A: Actor> {
    sender: AddressSender<A>,
    /// Taken by the pump of the current incarnation for the length of one poll, never across a handler.
    pub(super) receiver: Arc<Mutex<AddressReceiver<A>>>,
    pub(super) gauge: Arc<Gauge>,
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
            receiver: Arc::new(Mutex::new(receiver)),
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
}

impl<A: Actor<Context = Context<A>>> Default for Mailbox<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Actor> Clone for Mailbox<A> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), receiver: Arc::clone(&self.receiver), gauge: Arc::clone(&self.gauge) }
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
