//! Runs one incarnation: builds it, polls it, contains its panics, drops it, reports why it ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use actix::dev::ContextFut;
use actix::{Actor, ActorContext, AsyncContext, Context};
use tokio::time::Sleep;

use crate::exit::ExitReason;
use crate::fault::Fault;
use crate::hook;
use crate::incarnation::Incarnation;
use crate::pump::Pump;
use crate::run::Run;
use crate::start_context::{Factory, StartContext};

/// The future that is the incarnation. Stays on its thread.
pub(crate) struct Runner<A: Actor<Context = Context<A>>> {
    run: Run,
    stage: Stage<A>,
    /// The request to stop has been passed on to the actor.
    asked: bool,
    /// An injected slow stop.
    slow_stop: Option<Pin<Box<Sleep>>>,
}

enum Stage<A: Actor<Context = Context<A>>> {
    NotStarted { start: StartContext<A>, factory: Arc<Factory<A>> },
    Running { body: Box<ContextFut<A, Context<A>>>, started: bool },
    Ended,
}

impl<A: Actor<Context = Context<A>>> Runner<A> {
    pub(crate) fn new(run: Run, start: StartContext<A>, factory: Arc<Factory<A>>) -> Self {
        Self { run, stage: Stage::NotStarted { start, factory }, asked: false, slow_stop: None }
    }

    fn start(&mut self) -> Result<(), ExitReason> {
        let Stage::NotStarted { start, factory } = &self.stage else { return Ok(()) };
        let run = &self.run;
        let body = contain(&run.incarnation, || {
            assert!(run.fault != Some(Fault::PanicInFactory), "injected: panic in the factory");
            let actor = factory(start);
            let mut ctx = Context::new();
            ctx.spawn(Pump::new(start.mailbox().reader(), run));
            ctx.into_future(actor)
        })?;
        self.stage = Stage::Running { body: Box::new(body), started: false };
        Ok(())
    }

    /// Passes the request to stop on to the actor, late if a fault requires it.
    fn pass_on_stop(&mut self, task: &mut Task<'_>) {
        if self.asked || !self.run.control.stop_requested() {
            return;
        }
        let fault = self.run.control.take_fault(|fault| matches!(fault, Fault::SlowStop(_)));
        if let Some(Fault::SlowStop(length)) = fault {
            self.slow_stop = Some(Box::pin(tokio::time::sleep(length)));
        }
        if self.slow_stop.as_mut().is_some_and(|sleep| sleep.as_mut().poll(task).is_pending()) {
            return;
        }
        self.asked = true;
        if let Stage::Running { body, .. } = &mut self.stage {
            body.ctx().stop();
        }
    }

    fn poll_actor(&mut self, task: &mut Task<'_>) -> Result<Poll<()>, ExitReason> {
        let Stage::Running { body, started } = &mut self.stage else { return Ok(Poll::Ready(())) };
        let run = &self.run;
        let first = !std::mem::replace(started, true);
        let polled = contain(&run.incarnation, || {
            assert!(!(first && run.fault == Some(Fault::PanicInStarted)), "injected: panic in started");
            Pin::new(&mut **body).poll(task)
        })?;
        if first && polled.is_pending() {
            run.exit.started();
        }
        Ok(polled)
    }

    fn end(&mut self, reason: ExitReason) -> Poll<()> {
        let reason = match self.drop_actor() {
            Err(in_drop) if !matches!(reason, ExitReason::Panic(_)) => in_drop,
            Ok(()) | Err(_) => reason,
        };
        self.run.exit.ended(reason);
        Poll::Ready(())
    }

    /// Drops the actor without running a hook of it: what panicked may be broken.
    fn drop_actor(&mut self) -> Result<(), ExitReason> {
        let stage = std::mem::replace(&mut self.stage, Stage::Ended);
        contain(&self.run.incarnation, move || {
            if let Stage::Running { mut body, .. } = stage {
                // A live context would be polled again by its drop.
                body.ctx().terminate();
            }
        })
    }
}

impl<A: Actor<Context = Context<A>>> Future for Runner<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.run.control.register(task.waker());
        if this.run.control.kill_requested() || this.run.incarnation.is_fenced() {
            return this.end(ExitReason::Killed);
        }
        if let Err(reason) = this.start() {
            return this.end(reason);
        }
        this.pass_on_stop(task);
        match this.poll_actor(task) {
            Err(reason) => this.end(reason),
            Ok(Poll::Ready(())) => {
                let default = if this.asked { ExitReason::Asked } else { ExitReason::Normal };
                let reason = this.run.incarnation.end().cloned().unwrap_or(default);
                this.end(reason)
            }
            Ok(Poll::Pending) if this.run.incarnation.is_fenced() => this.end(ExitReason::Killed),
            Ok(Poll::Pending) => Poll::Pending,
        }
    }
}

impl<A: Actor<Context = Context<A>>> Drop for Runner<A> {
    /// The thread ends and drops its actors.
    fn drop(&mut self) {
        let _ = self.drop_actor();
    }
}

/// Runs `work` as the current incarnation; a panic becomes its exit reason.
fn contain<R>(incarnation: &Incarnation, work: impl FnOnce() -> R) -> Result<R, ExitReason> {
    catch_unwind(AssertUnwindSafe(|| incarnation.enter(work))).map_err(|_| ExitReason::Panic(hook::take_text()))
}
