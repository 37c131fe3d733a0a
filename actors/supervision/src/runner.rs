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
use crate::launch::IncarnationLaunch;
use crate::mailbox::MailboxReader;
use crate::pump::Pump;
use crate::start_context::{Factory, StartContext};

/// The future that runs one incarnation. Stays on its thread.
pub(crate) struct Runner<A: Actor<Context = Context<A>>> {
    launch: IncarnationLaunch,
    stage: RunnerStage<A>,
    /// The request to stop was forwarded to the actor.
    stop_forwarded: bool,
    /// An injected slow stop.
    slow_stop: Option<Pin<Box<Sleep>>>,
}

#[expect(clippy::large_enum_variant, reason = "the task is one allocation, and it is in the large state nearly always")]
enum RunnerStage<A: Actor<Context = Context<A>>> {
    NotStarted { start: StartContext<A>, reader: Option<MailboxReader<A>>, factory: Arc<dyn Factory<A>> },
    Running { body: ContextFut<A, Context<A>>, started: bool },
    Ended,
}

impl<A: Actor<Context = Context<A>>> Runner<A> {
    pub(crate) fn new(
        launch: IncarnationLaunch,
        start: StartContext<A>,
        reader: MailboxReader<A>,
        factory: Arc<dyn Factory<A>>,
    ) -> Self {
        let stage = RunnerStage::NotStarted { start, reader: Some(reader), factory };
        Self { launch, stage, stop_forwarded: false, slow_stop: None }
    }

    fn start(&mut self) -> Result<(), ExitReason> {
        let RunnerStage::NotStarted { start, reader, factory } = &mut self.stage else { return Ok(()) };
        let launch = &self.launch;
        let body = contain(&launch.incarnation, || {
            assert!(launch.fault != Some(Fault::PanicInFactory), "injected: panic in the factory");
            let actor = factory.build(start);
            let mut ctx = Context::new();
            if let Some(reader) = reader.take() {
                ctx.spawn(Pump::new(reader, &launch.incarnation));
            }
            ctx.into_future(actor)
        })?;
        self.stage = RunnerStage::Running { body, started: false };
        Ok(())
    }

    /// Forwards the request to stop to the actor, after a delay if a fault requires it.
    fn forward_stop(&mut self, task: &mut Task<'_>) {
        if self.stop_forwarded || !self.launch.incarnation.control().stop_requested() {
            return;
        }
        let fault = self.launch.incarnation.control().take_fault(|fault| matches!(fault, Fault::SlowStop(_)));
        if let Some(Fault::SlowStop(length)) = fault {
            self.slow_stop = Some(Box::pin(tokio::time::sleep(length)));
        }
        if self.slow_stop.as_mut().is_some_and(|sleep| sleep.as_mut().poll(task).is_pending()) {
            return;
        }
        self.stop_forwarded = true;
        if let RunnerStage::Running { body, .. } = &mut self.stage {
            body.ctx().stop();
        }
    }

    fn poll_actor(&mut self, task: &mut Task<'_>) -> Result<Poll<()>, ExitReason> {
        let RunnerStage::Running { body, started } = &mut self.stage else { return Ok(Poll::Ready(())) };
        let launch = &self.launch;
        let first = !std::mem::replace(started, true);
        let polled = contain(&launch.incarnation, || {
            assert!(!(first && launch.fault == Some(Fault::PanicInStarted)), "injected: panic in started");
            Pin::new(body).poll(task)
        })?;
        if first && polled.is_pending() {
            launch.exit.started();
        }
        Ok(polled)
    }

    fn end(&mut self, reason: ExitReason) -> Poll<()> {
        let reason = match self.drop_actor() {
            Err(in_drop) if !matches!(reason, ExitReason::Panic(_)) => in_drop,
            Ok(()) | Err(_) => reason,
        };
        self.launch.exit.ended(reason);
        Poll::Ready(())
    }

    /// Drops the actor without running its hooks: after a panic its state may be invalid.
    fn drop_actor(&mut self) -> Result<(), ExitReason> {
        let Self { launch, stage, .. } = self;
        contain(&launch.incarnation, || {
            if let RunnerStage::Running { body, .. } = stage {
                // A live context would be polled again by its drop.
                body.ctx().terminate();
            }
            *stage = RunnerStage::Ended;
        })
    }
}

impl<A: Actor<Context = Context<A>>> Future for Runner<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.launch.incarnation.control().register(task.waker());
        this.launch.incarnation.heartbeat().polled();
        if this.launch.incarnation.control().kill_requested() || this.launch.incarnation.is_fenced() {
            return this.end(ExitReason::Killed);
        }
        if let Err(reason) = this.start() {
            return this.end(reason);
        }
        if this.launch.incarnation.is_fenced() {
            // It was replaced while its factory ran.
            return this.end(ExitReason::Killed);
        }
        this.forward_stop(task);
        match this.poll_actor(task) {
            Err(reason) => this.end(reason),
            Ok(Poll::Ready(())) => {
                let default = if this.stop_forwarded { ExitReason::Shutdown } else { ExitReason::Normal };
                let reason = this.launch.incarnation.end().cloned().unwrap_or(default);
                this.end(reason)
            }
            Ok(Poll::Pending) if this.launch.incarnation.is_fenced() => this.end(ExitReason::Killed),
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
