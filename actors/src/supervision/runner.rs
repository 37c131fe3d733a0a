//! Runs one incarnation: builds it, polls it, contains its panics, buries it, reports why it ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use actix::dev::ContextFut;
use actix::{Actor, ActorContext, AsyncContext, Context};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Sleep;

use super::exit::ExitReason;
use super::fault::Fault;
use super::hook;
use super::leash::Leash;
use super::life::Life;
use super::pulse::Pulse;
use super::pump::Pump;
use super::spec::{Birth, Factory};

/// What a supervisor hears of its children. `run` numbers the incarnations of one supervisor's life, so that
/// news of a superseded one is told apart.
#[derive(Debug)]
pub(super) enum News {
    /// `started` is through.
    Started { run: u64 },
    /// It is gone, or as good as.
    Ended { run: u64, reason: ExitReason },
}

/// Reports the end of an incarnation exactly once, also if its thread ends before it could even begin.
#[derive(Debug)]
pub(super) struct Obituary {
    run: u64,
    news: UnboundedSender<News>,
    told: bool,
}

impl Obituary {
    pub(super) fn new(run: u64, news: UnboundedSender<News>) -> Self {
        Self { run, news, told: false }
    }

    fn started(&self) {
        let _ = self.news.send(News::Started { run: self.run });
    }

    fn tell(&mut self, reason: ExitReason) {
        if !std::mem::replace(&mut self.told, true) {
            // Nobody listens once the supervisor itself is gone.
            let _ = self.news.send(News::Ended { run: self.run, reason });
        }
    }
}

impl Drop for Obituary {
    fn drop(&mut self) {
        self.tell(ExitReason::Killed);
    }
}

/// One incarnation to be run, on its way to its thread.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) life: Life,
    pub(super) leash: Leash,
    pub(super) pulse: Pulse,
    pub(super) beat_every: Duration,
    /// Strikes at birth.
    pub(super) fault: Option<Fault>,
    pub(super) obituary: Obituary,
}

/// The future that is the incarnation. Stays on its thread.
pub(super) struct Runner<A: Actor<Context = Context<A>>> {
    run: Run,
    stage: Stage<A>,
    /// The polite stop has been passed on to the actor.
    asked: bool,
    /// An injected slow stop.
    dawdle: Option<Pin<Box<Sleep>>>,
}

enum Stage<A: Actor<Context = Context<A>>> {
    Unborn { birth: Birth<A>, factory: Arc<Factory<A>> },
    Alive { body: Box<ContextFut<A, Context<A>>>, started: bool },
    Gone,
}

impl<A: Actor<Context = Context<A>>> Runner<A> {
    pub(super) fn new(run: Run, birth: Birth<A>, factory: Arc<Factory<A>>) -> Self {
        Self { run, stage: Stage::Unborn { birth, factory }, asked: false, dawdle: None }
    }

    fn be_born(&mut self) -> Result<(), ExitReason> {
        let Stage::Unborn { birth, factory } = &self.stage else { return Ok(()) };
        let run = &self.run;
        let body = contain(&run.life, || {
            assert!(run.fault != Some(Fault::PanicInFactory), "injected: panic in the factory");
            let actor = factory(birth);
            let mut ctx = Context::new();
            let reader = birth.mailbox().reader();
            ctx.spawn(Pump::new(reader, run.life.clone(), run.leash.clone(), run.pulse.clone(), run.beat_every));
            ctx.into_future(actor)
        })?;
        self.stage = Stage::Alive { body: Box::new(body), started: false };
        Ok(())
    }

    /// Passes the order to stop on to the actor, late if a fault says so.
    fn pass_on_stop(&mut self, task: &mut Task<'_>) {
        if self.asked || !self.run.leash.stop_ordered() {
            return;
        }
        if let Some(Fault::SlowStop(length)) = self.run.leash.take_fault(|fault| matches!(fault, Fault::SlowStop(_))) {
            self.dawdle = Some(Box::pin(tokio::time::sleep(length)));
        }
        if self.dawdle.as_mut().is_some_and(|sleep| sleep.as_mut().poll(task).is_pending()) {
            return;
        }
        self.asked = true;
        if let Stage::Alive { body, .. } = &mut self.stage {
            body.ctx().stop();
        }
    }

    fn live(&mut self, task: &mut Task<'_>) -> Result<Poll<()>, ExitReason> {
        let Stage::Alive { body, started } = &mut self.stage else { return Ok(Poll::Ready(())) };
        let run = &self.run;
        let first = !std::mem::replace(started, true);
        let polled = contain(&run.life, || {
            assert!(!(first && run.fault == Some(Fault::PanicInStarted)), "injected: panic in started");
            Pin::new(&mut **body).poll(task)
        })?;
        if first && polled.is_pending() {
            run.obituary.started();
        }
        Ok(polled)
    }

    fn end(&mut self, reason: ExitReason) -> Poll<()> {
        let reason = match self.bury() {
            Err(in_drop) if !matches!(reason, ExitReason::Panic(_)) => in_drop,
            Ok(()) | Err(_) => reason,
        };
        self.run.obituary.tell(reason);
        Poll::Ready(())
    }

    /// Drops the actor without running a hook of it: what panicked may be broken.
    fn bury(&mut self) -> Result<(), ExitReason> {
        let stage = std::mem::replace(&mut self.stage, Stage::Gone);
        contain(&self.run.life, move || {
            if let Stage::Alive { mut body, .. } = stage {
                // A live context would be polled once more by its drop.
                body.ctx().terminate();
            }
        })
    }
}

impl<A: Actor<Context = Context<A>>> Future for Runner<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.run.leash.register(task.waker());
        if this.run.leash.kill_ordered() || this.run.life.is_fenced() {
            return this.end(ExitReason::Killed);
        }
        if let Err(reason) = this.be_born() {
            return this.end(reason);
        }
        this.pass_on_stop(task);
        match this.live(task) {
            Err(reason) => this.end(reason),
            Ok(Poll::Ready(())) => {
                let asked = if this.asked { ExitReason::Asked } else { ExitReason::Normal };
                let reason = this.run.life.end().cloned().unwrap_or(asked);
                this.end(reason)
            }
            Ok(Poll::Pending) if this.run.life.is_fenced() => this.end(ExitReason::Killed),
            Ok(Poll::Pending) => Poll::Pending,
        }
    }
}

impl<A: Actor<Context = Context<A>>> Drop for Runner<A> {
    /// The thread ends and takes its actors along.
    fn drop(&mut self) {
        let _ = self.bury();
    }
}

/// Runs `work` as the current life; a panic becomes its reason.
fn contain<R>(life: &Life, work: impl FnOnce() -> R) -> Result<R, ExitReason> {
    catch_unwind(AssertUnwindSafe(|| life.enter(work))).map_err(|_| ExitReason::Panic(hook::take_text()))
}
