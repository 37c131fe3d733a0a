//! Feeds an incarnation from its outer mailbox.

use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

use actix::dev::EnvelopeProxy;
use actix::fut::{ActorFuture, ActorFutureExt, wrap_future};
use actix::{Actor, ActorContext, AsyncContext, Context};
use tokio::time::{Interval, MissedTickBehavior};

use super::fault::Fault;
use super::leash::Leash;
use super::life::Life;
use super::mailbox::Reader;
use super::pulse::Pulse;

/// Messages handled in one turn before the thread's other actors get theirs.
const BATCH: usize = 64;

/// Lives in the context of its actor. Not polled while the actor waits (`ctx.wait`, atomic responses), which is what
/// holds its messages back then, and what lets its heartbeat tell a hung actor.
pub(super) struct Pump<A: Actor> {
    reader: Reader<A>,
    life: Life,
    leash: Leash,
    pulse: Pulse,
    beat: Interval,
}

impl<A: Actor<Context = Context<A>>> Pump<A> {
    pub(super) fn new(reader: Reader<A>, life: Life, leash: Leash, pulse: Pulse, beat_every: Duration) -> Self {
        let mut beat = tokio::time::interval(beat_every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { reader, life, leash, pulse, beat }
    }

    /// Faults that strike without a message.
    fn strike(&self, ctx: &mut Context<A>) {
        match self.leash.take_fault(|fault| !fault.at_message() && !matches!(fault, Fault::SlowStop(_))) {
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
                let bomb = PanicsInDrop;
                ctx.spawn(wrap_future::<_, A>(async move {
                    let _held = bomb;
                    std::future::pending::<()>().await;
                }));
                ctx.stop();
            }
            // Carried out at a message, at birth or at the stop.
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
        while this.beat.poll_tick(task).is_ready() {
            this.pulse.beat();
        }
        this.strike(ctx);
        for _ in 0..BATCH {
            // A handler made the actor wait or stop: the context polls us again when that is over.
            if ctx.waiting() || this.life.is_fenced() {
                return Poll::Pending;
            }
            // Nobody left who could send is no reason to stop: timers and streams go on.
            let Poll::Ready(Some(mut envelope)) = this.reader.poll_take(task) else { return Poll::Pending };
            match this.leash.take_fault(Fault::at_message) {
                Some(Fault::HangThread(length)) => std::thread::sleep(length),
                Some(_) => panic!("injected: panic in a handler"),
                None => {}
            }
            if !this.life.is_fenced() {
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
