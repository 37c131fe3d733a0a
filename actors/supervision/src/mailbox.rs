//! A mailbox that outlives the actor behind it.
//!
//! `actix` gives every incarnation a mailbox of its own. Here the mailbox is made first, senders hold [`Port`]s into it, and each
//! incarnation is fed from it. It is one allocation, which all its ports share, because a short-lived child has one as well. The
//! [`Gauge`] counts and bounds at the sender.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, Waker};

use actix::dev::{Envelope, OneshotSender, ToEnvelope};
use actix::{Actor, Context, Handler, Message};
use tokio::sync::oneshot;

use crate::gauge::Gauge;
use crate::locked::locked;
use crate::port::{PendingAnswer, Port, PortTarget, TellError};

/// Default limit of messages that wait in a mailbox; far above what a healthy actor leaves unhandled.
pub const DEFAULT_LIMIT: usize = 65_536;

/// Room that an emptied queue keeps; a larger one was left by a backlog.
const KEPT_CAPACITY: usize = 1_024;

/// The mailbox of one child, which outlives its incarnations. Cheap to clone; clones are the same mailbox.
///
/// Messages sent while the child restarts wait here and are handled by the next incarnation. Once the child is stopped or has
/// failed, they are refused.
pub struct Mailbox<A: Actor>(Arc<MailboxState<A>>);

struct MailboxState<A: Actor> {
    gauge: Gauge,
    /// Mailboxes and readers. Without one, no message would be handled any more; ports do not count.
    owners: AtomicUsize,
    /// Locked for the length of one put or take, never across a handler.
    inbox: Mutex<Inbox<A>>,
}

/// The messages, and the number of the reader that may take them.
struct Inbox<A: Actor> {
    queue: VecDeque<Envelope<A>>,
    /// Messages are refused until the next reader is made.
    closed: bool,
    /// Number of the only [`MailboxReader`] that may take.
    reader: u64,
    /// Wakes that reader for the next message, and when it is superseded.
    waker: Option<Waker>,
}

/// A mailbox whose actor type is erased.
pub(crate) trait AnyMailbox: Send + Sync {
    /// The counts.
    fn gauge(&self) -> &Gauge;

    /// Drops every message, so that callers get [`AskError::Closed`](crate::AskError::Closed) at once, and refuses further ones
    /// until the next reader is made. The current reader is superseded.
    fn close(&self);
}

/// Takes messages from a [`Mailbox`]. Only the newest reader can, so a superseded incarnation receives none, also if its thread
/// hangs.
pub(crate) struct MailboxReader<A: Actor> {
    mailbox: Mailbox<A>,
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
        let inbox = Inbox { queue: VecDeque::new(), closed: false, reader: 0, waker: None };
        Self(Arc::new(MailboxState { gauge: Gauge::new(limit), owners: AtomicUsize::new(1), inbox: Mutex::new(inbox) }))
    }

    /// A port for one type of message. It allocates nothing.
    #[must_use]
    pub fn port<M>(&self) -> Port<M>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        Port::new(Arc::clone(&self.0) as Arc<dyn PortTarget<M>>)
    }

    /// The counts of this mailbox.
    #[must_use]
    pub fn gauge(&self) -> &Gauge {
        &self.0.gauge
    }

    /// This mailbox, without its actor type. It does not keep it open.
    pub(crate) fn erased(&self) -> Arc<dyn AnyMailbox> {
        Arc::clone(&self.0) as Arc<dyn AnyMailbox>
    }

    /// Accepts messages, and supersedes the previous reader.
    pub(crate) fn reader(&self) -> MailboxReader<A> {
        let (number, superseded) = {
            let mut inbox = locked(&self.0.inbox);
            inbox.closed = false;
            inbox.reader += 1;
            (inbox.reader, inbox.waker.take())
        };
        if let Some(waker) = superseded {
            waker.wake();
        }
        MailboxReader { mailbox: self.clone(), number }
    }
}

impl<A: Actor> MailboxState<A> {
    /// Puts a message, or returns it.
    fn put<M>(&self, message: M, answer: Option<OneshotSender<M::Result>>) -> Result<(), (TellError, M)>
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message,
    {
        if !self.gauge.enter() {
            return Err((TellError::Full, message));
        }
        let waker = {
            let mut inbox = locked(&self.inbox);
            if inbox.closed {
                self.gauge.leave(1);
                return Err((TellError::Closed, message));
            }
            inbox.queue.push_back(<A::Context as ToEnvelope<A, M>>::pack(message, answer));
            inbox.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

impl<A, M> PortTarget<M> for MailboxState<A>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn ask(&self, message: M) -> Result<PendingAnswer<M::Result>, TellError> {
        let (sender, answer) = oneshot::channel();
        self.put(message, Some(sender)).map_err(|(error, _)| error)?;
        Ok(PendingAnswer::Mailbox(answer))
    }

    fn tell(&self, message: M) -> Result<(), (TellError, M)> {
        self.put(message, None)
    }
}

impl<A: Actor> AnyMailbox for MailboxState<A> {
    fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    fn close(&self) {
        let (dropped, superseded) = {
            let mut inbox = locked(&self.inbox);
            inbox.closed = true;
            inbox.reader += 1;
            (std::mem::take(&mut inbox.queue), inbox.waker.take())
        };
        self.gauge.leave(dropped.len());
        if let Some(waker) = superseded {
            waker.wake();
        }
        // Not under the lock: the drop of a message may send others. It may panic, too, and the caller is a supervisor.
        for envelope in dropped {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(envelope)));
        }
    }
}

impl<A: Actor> MailboxReader<A> {
    /// The next message. `None` once superseded.
    pub(crate) fn poll_take(&mut self, cx: &mut task::Context<'_>) -> Poll<Option<Envelope<A>>> {
        let state = &self.mailbox.0;
        let taken = {
            let mut inbox = locked(&state.inbox);
            // Checked under the lock: a superseded reader would otherwise overwrite the waker of the next one.
            if inbox.reader != self.number {
                return Poll::Ready(None);
            }
            let taken = inbox.queue.pop_front();
            if taken.is_none() && !inbox.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                inbox.waker = Some(cx.waker().clone());
            }
            if inbox.queue.is_empty() && inbox.queue.capacity() > KEPT_CAPACITY {
                inbox.queue = VecDeque::new();
            }
            taken
        };
        let Some(envelope) = taken else { return Poll::Pending };
        state.gauge.leave(1);
        Poll::Ready(Some(envelope))
    }
}

impl<A: Actor<Context = Context<A>>> Default for Mailbox<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Actor> Clone for Mailbox<A> {
    fn clone(&self) -> Self {
        self.0.owners.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl<A: Actor> Drop for Mailbox<A> {
    /// The last one closes the mailbox.
    fn drop(&mut self) {
        if self.0.owners.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::port::AskError;

    /// Longer than an answer takes.
    const CEILING: Duration = Duration::from_secs(5);

    struct Idle;

    impl Actor for Idle {
        type Context = Context<Self>;
    }

    #[derive(Debug, PartialEq, Message)]
    #[rtype(result = "()")]
    struct Hello(u8);

    impl Handler<Hello> for Idle {
        type Result = ();

        fn handle(&mut self, _: Hello, _: &mut Self::Context) {}
    }

    #[actix::test]
    async fn closed_mailbox_drops_its_messages_and_refuses_others_until_the_next_reader() {
        let mailbox: Mailbox<Idle> = Mailbox::new();
        let port = mailbox.port::<Hello>();
        let waiting = port.ask(Hello(1), CEILING);
        assert_eq!(mailbox.gauge().waiting(), 1);
        mailbox.0.close();
        assert_eq!(waiting.await, Err(AskError::Closed), "the caller gets an answer at once");
        assert_eq!(port.ask(Hello(2), CEILING).await, Err(AskError::Closed));
        assert_eq!(port.tell_or_return(Hello(3)), Err((TellError::Closed, Hello(3))));
        assert_eq!((mailbox.gauge().waiting(), mailbox.gauge().refused()), (0, 0));
        let _reader = mailbox.reader();
        assert_eq!(port.tell(Hello(4)), Ok(()));
        assert_eq!(mailbox.gauge().waiting(), 1);
    }

    #[actix::test]
    async fn mailbox_closes_with_its_last_owner_and_ports_leave_nothing_behind() {
        let mailbox: Mailbox<Idle> = Mailbox::new();
        let (port, state) = (mailbox.port::<Hello>(), Arc::downgrade(&mailbox.0));
        let (reader, waiting) = (mailbox.reader(), port.ask(Hello(1), CEILING));
        drop(mailbox);
        assert_eq!(port.tell(Hello(2)), Ok(()), "a reader is an owner");
        drop(reader);
        assert_eq!(waiting.await, Err(AskError::Closed));
        assert_eq!(port.tell(Hello(3)), Err(TellError::Closed));
        drop(port);
        assert!(state.upgrade().is_none(), "the mailbox is dropped");
    }

    #[test]
    fn superseded_reader_takes_nothing_and_is_woken() {
        let mailbox: Mailbox<Idle> = Mailbox::new();
        let (mut old, mut cx) = (mailbox.reader(), task::Context::from_waker(Waker::noop()));
        assert!(old.poll_take(&mut cx).is_pending());
        let mut new = mailbox.reader();
        mailbox.port::<Hello>().tell(Hello(1)).unwrap();
        assert!(matches!(old.poll_take(&mut cx), Poll::Ready(None)));
        assert!(matches!(new.poll_take(&mut cx), Poll::Ready(Some(_))));
    }
}
