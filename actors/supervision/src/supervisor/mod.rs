//! The supervisor: carries out the steps of [`SupervisorPlan`].
//!
//! Owns its children's incarnations and timers. Receives the reports of their runners and of the heartbeat check, and the
//! commands of operators; sends its own end to its supervisor, and each exit of a child to the port of
//! [`SupervisorSpec::report_exits`](crate::SupervisorSpec::report_exits). A restart kills all its children, starts the permanent and
//! transient ones again, and removes temporary ones.

mod commands; // Handlers of the messages from operators and actors.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{Actor, ActorContext, AsyncContext, Context, Running, SpawnHandle, StreamHandler};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::actor_heartbeat::ActorHeartbeat;
use crate::board::{RunningChild, StatusCell, wall_clock};
use crate::child_event::{ChildEvent, ExitNotifier};
use crate::children::Children;
use crate::context::SystemContext;
use crate::control::ControlHandle;
use crate::exit::ExitReason;
use crate::fault::Fault;
use crate::incarnation::Incarnation;
use crate::launch::IncarnationLaunch;
use crate::messages::ChildExited;
use crate::monotonic;
use crate::options::RootEnd;
use crate::plan::{
    ChildKey, ChildOptions, ChildTimer, Exceeded, PlanState, SupervisorEvent, SupervisorPlan, SupervisorStep,
};
use crate::port::{Port, TellError};
use crate::restart::{Readiness, Restart};
use crate::spec::ChildSpec;
use crate::start_context::StartContext;
use crate::tree_node::ChildState;

/// Time until an exit is reported again that did not fit into the mailbox of the receiver.
const EXIT_RETRY: Duration = Duration::from_millis(20);

/// Starts, stops and restarts its children. Made by [`ChildSpec::supervisor`] or [`Root::start`](crate::Root::start).
pub struct Supervisor {
    plan: SupervisorPlan,
    running: HashMap<ChildKey, SupervisedChild>,
    /// The key of each child, by its id.
    by_id: HashMap<String, ChildKey>,
    children: Children,
    exits: Option<Port<ChildExited>>,
    /// The mailbox of the receiver was full: exits are reported again later.
    report_due: bool,
    incarnation: Incarnation,
    cell: Arc<StatusCell>,
    system: SystemContext,
    events: UnboundedSender<ChildEvent>,
    /// Taken by `started`.
    received: Option<UnboundedReceiver<ChildEvent>>,
}

struct SupervisedChild {
    spec: ChildSpec,
    cell: Arc<StatusCell>,
    current: Option<CurrentIncarnation>,
    timer: Option<SpawnHandle>,
    /// Takes effect at the next start.
    fault: Option<Fault>,
}

/// The running incarnation.
struct CurrentIncarnation {
    incarnation: Incarnation,
    control: ControlHandle,
    until_ready: Option<SpawnHandle>,
}

impl SupervisedChild {
    fn exited(&self, generation: u64, reason: ExitReason) -> ChildExited {
        ChildExited { id: self.spec.id.clone(), path: self.cell.path().to_owned(), generation, reason }
    }
}

impl Supervisor {
    pub(crate) fn new(children: Children, start: &StartContext<Self>) -> Self {
        let (events, received) = mpsc::unbounded_channel();
        let spec = children.spec();
        let mut supervisor = Self {
            plan: SupervisorPlan::new(spec.strategy).starting_together(spec.together),
            running: HashMap::new(),
            by_id: HashMap::new(),
            children,
            exits: spec.exits,
            report_due: false,
            incarnation: start.incarnation().clone(),
            cell: Arc::clone(&start.cell),
            system: start.system.clone(),
            events,
            received: Some(received),
        };
        // The previous incarnation could not end them if its thread is unresponsive.
        supervisor.children.take_over();
        supervisor.cell.retain(|id| spec.children.iter().any(|child| child.id == id));
        for child in spec.children {
            supervisor.add(child);
        }
        supervisor
    }

    fn add(&mut self, spec: ChildSpec) {
        let thread = spec.worker_thread.as_ref().unwrap_or_else(|| self.system.root_thread());
        self.system.register(thread);
        let cell = self.cell.child(&spec.id, spec.kind(), thread.name(), spec.actor.gauge());
        let ready_within = match spec.readiness {
            Readiness::Started => None,
            Readiness::Reported { within } => (within < Duration::MAX).then_some(within),
        };
        let options = ChildOptions {
            id: spec.id.clone(),
            restart: spec.restart,
            policy: spec.policy,
            grace: spec.grace,
            ready_within,
        };
        let key = self.plan.add(options);
        self.by_id.insert(spec.id.clone(), key);
        self.running.insert(key, SupervisedChild { spec, cell, current: None, timer: None, fault: None });
    }

    fn on(&mut self, event: SupervisorEvent, ctx: &mut Context<Self>) {
        for step in self.plan.on(event, monotonic::now(), fastrand::f64()) {
            self.carry_out(step, ctx);
        }
        self.publish();
        if self.plan.is_startup_complete() {
            self.incarnation.ready();
        }
    }

    fn carry_out(&mut self, step: SupervisorStep, ctx: &mut Context<Self>) {
        match step {
            SupervisorStep::Launch { key, run } => self.launch(key, run, ctx),
            SupervisorStep::Stop { key } => self.with_current(key, |current| current.control.stop()),
            SupervisorStep::Kill { key } => self.with_current(key, |current| current.control.kill()),
            SupervisorStep::Abandon { key } => self.on_exit(key, ExitReason::Killed, ctx),
            SupervisorStep::Wait { key, length, timer } => self.wait(key, length, timer, ctx),
            SupervisorStep::Drain { key } => {
                if let Some(child) = self.running.get(&key) {
                    child.spec.actor.drain();
                }
            }
            SupervisorStep::Forget { key } => {
                if let Some(child) = self.running.remove(&key) {
                    self.by_id.remove(&child.spec.id);
                    self.cell.remove(&child.cell);
                }
            }
            SupervisorStep::Finish { reason, exceeded } => self.finish(reason, exceeded, ctx),
        }
    }

    fn launch(&mut self, key: ChildKey, run: u64, ctx: &mut Context<Self>) {
        let Some(child) = self.running.get_mut(&key) else { return };
        if let Some(timer) = child.timer.take() {
            ctx.cancel_future(timer);
        }
        let mut generation = 0;
        child.cell.write(|status| {
            status.generation += 1;
            status.started_at = Some(wall_clock());
            generation = status.generation;
        });
        let incarnation = Incarnation::new(child.cell.path(), generation);
        let (control, heartbeat) = (ControlHandle::default(), ActorHeartbeat::new());
        let launch = IncarnationLaunch {
            incarnation: incarnation.clone(),
            control: control.clone(),
            heartbeat: heartbeat.clone(),
            fault: child.fault.take(),
            exit: ExitNotifier::new(run, self.events.clone()),
        };
        let until_ready = matches!(child.spec.readiness, Readiness::Reported { .. }).then(|| {
            let ready = incarnation.clone();
            let ready = async move { ready.until_ready().await };
            ctx.spawn(
                wrap_future::<_, Self>(ready).map(move |(), this, ctx| this.on(SupervisorEvent::Ready { run }, ctx)),
            )
        });
        let thread = child.spec.worker_thread.as_ref().unwrap_or_else(|| self.system.root_thread());
        self.children.started(&child.spec.id, incarnation.clone(), control.clone());
        child.current =
            Some(CurrentIncarnation { incarnation: incarnation.clone(), control: control.clone(), until_ready });
        match child.spec.actor.start(launch, &self.system, &child.cell, thread) {
            Ok(thread_number) => {
                let running = RunningChild {
                    run,
                    incarnation,
                    control,
                    heartbeat,
                    worker_thread: thread.clone(),
                    thread_number,
                    permanent: child.spec.restart == Restart::Permanent,
                    events: self.events.clone(),
                };
                child.cell.write(|status| status.running = Some(running));
            }
            // The exit notifier, dropped before the start, reports it as an exit.
            Err(reason) => tracing::error!(child = child.cell.path(), %reason, "child was not started"),
        }
    }

    fn wait(&mut self, key: ChildKey, length: Duration, timer: ChildTimer, ctx: &mut Context<Self>) {
        let Some(child) = self.running.get_mut(&key) else { return };
        let set = ctx.run_later(length, move |this, ctx| this.on(SupervisorEvent::Due(timer), ctx));
        if let Some(before) = child.timer.replace(set) {
            ctx.cancel_future(before);
        }
    }

    /// Handles the end of an incarnation: fences it, because its thread may still run it, and reports the exit.
    fn on_exit(&mut self, key: ChildKey, reason: ExitReason, ctx: &mut Context<Self>) {
        let Some(child) = self.running.get_mut(&key) else { return };
        let Some(current) = child.current.take() else { return };
        current.incarnation.fence();
        current.control.wake();
        for handle in [child.timer.take(), current.until_ready].into_iter().flatten() {
            ctx.cancel_future(handle);
        }
        let (path, generation) = (child.cell.path(), current.incarnation.generation());
        match &reason {
            ExitReason::Normal if child.spec.restart == Restart::Temporary => {
                tracing::debug!(child = %path, generation, "temporary child ended");
            }
            ExitReason::Normal | ExitReason::Shutdown => {
                tracing::info!(child = %path, generation, %reason, "child ended");
            }
            ExitReason::Panic(_) | ExitReason::Error(_) | ExitReason::Killed | ExitReason::Unresponsive => {
                tracing::warn!(child = %path, generation, %reason, "child ended");
            }
            ExitReason::Fatal(_) => tracing::error!(child = %path, generation, %reason, "child cannot continue"),
        }
        child.cell.write(|status| {
            status.running = None;
            status.last_exit = Some((reason.clone(), wall_clock()));
        });
        self.children.ended(&current.incarnation, child.exited(generation, reason));
        // The order is kept: while one is to be reported again, later ones wait.
        if !self.report_due {
            self.report_exits(ctx);
        }
    }

    /// Reports the exits in order. None may be lost, because the receiver may wait for it without a timeout.
    fn report_exits(&mut self, ctx: &mut Context<Self>) {
        self.report_due = self.report_until_full();
        if self.report_due {
            ctx.run_later(EXIT_RETRY, Self::report_exits);
        }
    }

    /// Whether the mailbox of the receiver is full. The exits of a fenced supervisor are reported by its next incarnation.
    fn report_until_full(&self) -> bool {
        let Some(port) = &self.exits else { return false };
        while !self.incarnation.is_fenced()
            && let Some(exited) = self.children.first_exit()
        {
            let path = exited.path.clone();
            match port.tell(exited) {
                Err(TellError::Full) => return true,
                Err(TellError::Fenced) => return false,
                Err(error @ TellError::Closed) => tracing::warn!(child = %path, %error, "exit was not reported"),
                Ok(()) => {}
            }
            self.children.remove_first_exit();
        }
        false
    }

    fn finish(&mut self, reason: ExitReason, exceeded: Option<Exceeded>, ctx: &mut Context<Self>) {
        if let Some(Exceeded { id, reason }) = exceeded
            && self.cell.path().is_empty()
        {
            self.system.set_cause(RootEnd::IntensityExceeded { path: id, reason });
        }
        self.incarnation.end_with(reason);
        ctx.stop();
    }

    /// Writes to the board what has changed.
    fn publish(&mut self) {
        let closing = self.plan.is_closing();
        for changed in self.plan.changed() {
            let Some(child) = self.running.get(&changed.key()) else { continue };
            let state = match changed.state() {
                PlanState::Queued | PlanState::Starting => ChildState::Starting,
                PlanState::Running => ChildState::Running,
                PlanState::Stopping(_) => ChildState::Stopping,
                PlanState::Backoff => ChildState::Backoff,
                PlanState::Stopped => ChildState::Stopped,
                PlanState::Failed => ChildState::Failed,
            };
            if state == ChildState::Failed && !closing {
                tracing::error!(child = child.cell.path(), "child failed; it is not restarted until it is reset");
            }
            let (due, window) = (changed.due(), changed.intensity().window());
            let recent = changed.intensity().recent().collect();
            child.cell.write(|status| {
                status.state = state;
                status.due = due;
                status.window = window;
                status.recent = recent;
            });
        }
    }

    fn with_current(&self, key: ChildKey, act: impl FnOnce(&CurrentIncarnation)) {
        if let Some(current) = self.running.get(&key).and_then(|child| child.current.as_ref()) {
            act(current);
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(mut received) = self.received.take() {
            // Ends with the context: `self.events` keeps it open.
            ctx.add_stream(futures_util::stream::poll_fn(move |task| received.poll_recv(task)));
        }
        self.report_exits(ctx);
        self.on(SupervisorEvent::Start, ctx);
    }

    fn stopping(&mut self, ctx: &mut Self::Context) -> Running {
        if !self.plan.is_finished() {
            self.on(SupervisorEvent::Shutdown, ctx);
        }
        // The exit of the last child stops this actor again.
        if self.plan.is_finished() { Running::Stop } else { Running::Continue }
    }
}

impl StreamHandler<ChildEvent> for Supervisor {
    fn handle(&mut self, event: ChildEvent, ctx: &mut Self::Context) {
        match event {
            ChildEvent::Started { run } => {
                let Some(child) = self.plan.key_of(run).and_then(|key| self.running.get(&key)) else { return };
                if child.spec.readiness == Readiness::Started {
                    self.on(SupervisorEvent::Ready { run }, ctx);
                }
            }
            ChildEvent::Ended { run, reason } => {
                // Reports of a superseded run are ignored.
                let Some(key) = self.plan.key_of(run) else { return };
                let reason = self.plan.counted_reason(run, reason);
                self.on_exit(key, reason.clone(), ctx);
                self.on(SupervisorEvent::Ended { run, reason }, ctx);
            }
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

impl Drop for Supervisor {
    /// Kills the children, so that none outlives its supervisor. The reports of their runners have no receiver then, so each exit
    /// is reported here. What is left, because the receiver is full or this incarnation is fenced, the next one reports.
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let Some(current) = child.current.take() else { continue };
            current.incarnation.fence();
            current.control.kill();
            child.cell.write(|status| {
                status.state = ChildState::Stopped;
                status.running = None;
                status.last_exit = Some((ExitReason::Killed, wall_clock()));
            });
            let exited = child.exited(current.incarnation.generation(), ExitReason::Killed);
            self.children.ended(&current.incarnation, exited);
        }
        if self.report_until_full() {
            tracing::debug!(supervisor = self.cell.path(), "exits are reported by the next incarnation");
        }
    }
}
