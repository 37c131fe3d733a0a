//! Passes the messages of a child's mailbox to its current incarnation.

use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

use actix::dev::EnvelopeProxy;
use actix::fut::{ActorFuture, ActorFutureExt, wrap_future};
use actix::{Actor, ActorContext, AsyncContext, Context};

use crate::fault::Fault;
use crate::incarnation::Incarnation;
use crate::mailbox::MailboxReader;

/// Messages handled in one poll, before the thread's other actors are polled.
const BATCH: usize = 64;

/// A future in the context of its actor. Not polled while the actor waits (`ctx.wait`, atomic responses), so messages wait too, and
/// an actor that hangs answers no request for a heartbeat.
pub(crate) struct Pump<A: Actor> {
    reader: MailboxReader<A>,
    incarnation: Incarnation,
}

impl<A: Actor<Context = Context<A>>> Pump<A> {
    pub(crate) fn new(reader: MailboxReader<A>, incarnation: &Incarnation) -> Self {
        Self { reader, incarnation: incarnation.clone() }
    }

    /// Carries out faults that need no message.
    fn carry_out_fault(&self, ctx: &mut Context<A>) {
        match self.incarnation.control().take_fault(|fault| !fault.at_message() && !matches!(fault, Fault::SlowStop(_)))
        {
            Some(Fault::PanicInTimer) => {
                ctx.run_later(Duration::ZERO, |_, _| panic!("injected: panic in a timer"));
            }
            Some(Fault::HangInTimer(length)) => {
                ctx.run_later(Duration::ZERO, move |_, _| std::thread::sleep(length));
            }
            Some(Fault::PanicInResponse) => {
                let respond = wrap_future::<_, A>(async {});
                ctx.wait(respond.map(|(), _, _| panic!("injected: panic in a response")));
            }
            Some(Fault::HangActor) => ctx.wait(wrap_future::<_, A>(std::future::pending())),
            Some(Fault::PanicInDrop) => {
                let guard = PanicsInDrop;
                ctx.spawn(wrap_future::<_, A>(async move {
                    let _guard = guard;
                    std::future::pending::<()>().await;
                }));
                ctx.stop();
            }
            // Carried out at the next message, during the start, or at the stop.
            Some(
                Fault::PanicInHandler
                | Fault::HangThread(_)
                | Fault::PanicInStarted
                | Fault::PanicInFactory
                | Fault::SlowStop(_),
            )
            | None => {}
        }
    }
}

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for Pump<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, actor: &mut A, ctx: &mut Context<A>, task: &mut task::Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.incarnation.heartbeat().answer();
        this.carry_out_fault(ctx);
        for _ in 0..BATCH {
            // A handler made the actor wait or stop: the context polls us again when that is over.
            if ctx.waiting() || this.incarnation.is_fenced() {
                return Poll::Pending;
            }
            // Without a message the actor keeps running: it may have timers and streams.
            let Poll::Ready(Some(mut envelope)) = this.reader.poll_take(task) else { return Poll::Pending };
            match this.incarnation.control().take_fault(Fault::at_message) {
                Some(Fault::HangThread(length)) => std::thread::sleep(length),
                Some(_) => panic!("injected: panic in a handler"),
                None => {}
            }
            if !this.incarnation.is_fenced() {
                envelope.handle(actor, ctx);
            }
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        // While unwinding from another panic, a second one would abort the process.
        assert!(std::thread::panicking(), "injected: panic in drop");
    }
}
