//! The supervisor: carries out the steps of [`SupervisorPlan`].
//!
//! Owns its children's incarnations and timers. Receives the reports of their runners and of the heartbeat check, and the
//! commands of operators; sends its own end to its supervisor, and each exit of a child to the port of
//! [`SupervisorSpec::report_exits`](crate::SupervisorSpec::report_exits). A restart kills all its children, starts the permanent and
//! transient ones again, and removes temporary ones.

mod commands; // Handlers of the messages from operators and actors.
mod events; // The reports of runners, and the reports of exits.
mod timers; // The timers of children.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Running};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::Instant;

use crate::board::{RunningChild, StatusCell, wall_clock};
use crate::child_event::{ChildEvent, ExitNotifier};
use crate::child_path::ChildPath;
use crate::children::Children;
use crate::context::SystemContext;
use crate::exit::ExitReason;
use crate::fault::Fault;
use crate::incarnation::{Incarnation, ReadyHook};
use crate::launch::IncarnationLaunch;
use crate::messages::ChildExited;
use crate::monotonic;
use crate::options::RootEnd;
use crate::plan::{
    ChildKey, ChildOptions, ChildSlots, ChildTimer, Exceeded, PlanState, RunId, SupervisorEvent, SupervisorPlan,
    SupervisorStep,
};
use crate::port::Port;
use crate::restart::{Readiness, Restart};
use crate::spec::ChildSpec;
use crate::start_context::StartContext;
use crate::tree_node::ChildState;
use crate::worker_thread::WorkerThread;
use timers::ChildTimers;

/// Starts, stops and restarts its children. Made by [`ChildSpec::supervisor`] or [`Root::start`](crate::Root::start).
pub struct Supervisor {
    plan: SupervisorPlan,
    running: ChildSlots<SupervisedChild>,
    timers: ChildTimers,
    /// The key of each child, by its id.
    by_id: HashMap<Arc<str>, ChildKey>,
    children: Children,
    exits: Option<Port<ChildExited>>,
    /// The mailbox of the receiver was full: exits are reported again later.
    report_due: bool,
    incarnation: Incarnation,
    /// The path of `cell`, shared with those of the children.
    path: Arc<str>,
    cell: Arc<StatusCell>,
    /// The board has changes that its subscribers were not notified of.
    cells_changed: bool,
    system: SystemContext,
    events: UnboundedSender<ChildEvent>,
    /// Taken by `started`.
    received: Option<UnboundedReceiver<ChildEvent>>,
}

struct SupervisedChild {
    spec: ChildSpec,
    cell: Arc<StatusCell>,
    /// The incarnation that runs.
    current: Option<Incarnation>,
    /// When its timer is due.
    timer: Option<Instant>,
    /// Takes effect at the next start.
    fault: Option<Fault>,
}

impl Supervisor {
    pub(crate) fn new(children: Children, start: &StartContext<Self>) -> Self {
        let (events, received) = mpsc::unbounded_channel();
        let spec = children.spec();
        let mut supervisor = Self {
            plan: SupervisorPlan::new(spec.strategy).starting_together(spec.together),
            running: ChildSlots::default(),
            timers: ChildTimers::default(),
            by_id: HashMap::new(),
            children,
            exits: spec.exits,
            report_due: false,
            incarnation: start.incarnation().clone(),
            path: Arc::from(start.cell.path()),
            cell: Arc::clone(&start.cell),
            cells_changed: true,
            system: start.system.clone(),
            events,
            received: Some(received),
        };
        let mut left = supervisor.cell.children_by_id();
        for cell in left.values() {
            // The previous incarnation could not end them if its thread is unresponsive.
            supervisor.children.take_over(cell);
        }
        for child in spec.children {
            let cell = left.remove(&child.id);
            supervisor.add(child, cell);
        }
        for cell in left.values() {
            cell.close_mailbox();
            supervisor.cell.remove(cell);
        }
        supervisor
    }

    /// Adds a child. `left` is its cell of an earlier incarnation of this supervisor.
    fn add(&mut self, spec: ChildSpec, left: Option<Arc<StatusCell>>) {
        let thread = spec.worker_thread.as_ref().unwrap_or_else(|| self.system.root_thread());
        self.system.register(thread);
        let path = ChildPath::new(&self.path, &spec.id);
        let cell = self.cell.child(path, spec.kind(), thread, spec.actor.mailbox(), left);
        let ready_within = match spec.readiness {
            Readiness::Started => None,
            Readiness::Reported { within } => (within < Duration::MAX).then_some(within),
        };
        let options = ChildOptions {
            id: Arc::clone(&spec.id),
            restart: spec.restart,
            policy: spec.policy,
            grace: spec.grace,
            ready_within,
        };
        let key = self.plan.add(options);
        self.by_id.insert(Arc::clone(&spec.id), key);
        self.running.put(key, SupervisedChild { spec, cell, current: None, timer: None, fault: None });
    }

    /// Handles one event, and shows on the board what has changed.
    fn on(&mut self, event: SupervisorEvent, ctx: &mut Context<Self>) {
        self.decide(event, ctx);
        self.publish();
        // Of a child that was given up without a report of its runner.
        self.report_new_exits(ctx);
    }

    fn decide(&mut self, event: SupervisorEvent, ctx: &mut Context<Self>) {
        self.plan.on(event, monotonic::now(), fastrand::f64());
        while let Some(step) = self.plan.next_step() {
            self.carry_out(step, ctx);
        }
    }

    fn carry_out(&mut self, step: SupervisorStep, ctx: &mut Context<Self>) {
        match step {
            SupervisorStep::Launch { key, run } => self.launch(key, run),
            SupervisorStep::Stop { key } => self.with_current(key, |current| current.control().stop()),
            SupervisorStep::Kill { key } => self.with_current(key, |current| current.control().kill()),
            SupervisorStep::Abandon { key } => self.on_exit(key, ExitReason::Killed),
            SupervisorStep::Wait { key, length, timer } => self.wait(key, length, timer, ctx),
            SupervisorStep::CloseMailbox { key } => {
                if let Some(child) = self.running.get(key) {
                    child.spec.actor.close();
                }
            }
            SupervisorStep::Forget { key } => {
                if let Some(child) = self.running.remove(key) {
                    self.by_id.remove(&child.spec.id);
                    self.cell.remove(&child.cell);
                    self.cells_changed = true;
                }
            }
            SupervisorStep::Finish { reason, exceeded } => self.finish(reason, exceeded, ctx),
        }
    }

    fn launch(&mut self, key: ChildKey, run: RunId) {
        let Some(child) = self.running.get_mut(key) else { return };
        if let Some(at) = child.timer.take() {
            self.timers.remove(at, key);
        }
        let generation = child.cell.write(|status| {
            status.generation += 1;
            status.started_at = Some(wall_clock());
            status.generation
        });
        let reported = matches!(child.spec.readiness, Readiness::Reported { .. });
        let ready = reported.then(|| {
            let events = self.events.clone();
            // There is no receiver once the supervisor itself is gone.
            ReadyHook::new(move || _ = events.send(ChildEvent::Ready { run }))
        });
        let incarnation = Incarnation::at(child.cell.child_path().clone(), generation, ready);
        let launch = IncarnationLaunch {
            incarnation: incarnation.clone(),
            fault: child.fault.take(),
            exit: ExitNotifier::new(run, self.events.clone()),
        };
        let thread = child.spec.worker_thread.as_ref().unwrap_or_else(|| self.system.root_thread());
        child.current = Some(incarnation.clone());
        let started = Arc::clone(&child.spec.actor).start(launch, &self.system, &child.cell, thread);
        let thread_number = started.unwrap_or_else(|reason| {
            // The exit notifier, dropped before the start, reports it as an exit.
            tracing::error!(child = child.cell.path(), %reason, "child was not started");
            WorkerThread::NO_THREAD
        });
        let running = RunningChild {
            run,
            incarnation,
            worker_thread: thread.clone(),
            thread_number,
            permanent: child.spec.restart == Restart::Permanent,
            events: self.events.clone(),
        };
        child.cell.write(|status| status.running = Some(running));
        self.cells_changed = true;
    }

    /// Sets the timer of a child, in place of its last one.
    fn wait(&mut self, key: ChildKey, length: Duration, timer: ChildTimer, ctx: &mut Context<Self>) {
        let Some(child) = self.running.get_mut(key) else { return };
        // A length beyond the clock is no limit.
        let at = Instant::now().checked_add(length);
        if let Some(before) = std::mem::replace(&mut child.timer, at) {
            self.timers.remove(before, key);
        }
        let Some(at) = at else { return };
        self.timers.set(at, key, timer);
        self.wake_for_timers(ctx);
    }

    fn wake_for_timers(&mut self, ctx: &mut Context<Self>) {
        let Some(at) = self.timers.needs_wake() else { return };
        let handle = ctx.run_later(at.saturating_duration_since(Instant::now()), |this, ctx| {
            this.timers.wake = None;
            let now = Instant::now();
            while let Some((key, timer)) = this.timers.next_due(now) {
                let event = this.due(key, timer);
                this.decide(event, ctx);
            }
            this.wake_for_timers(ctx);
            this.publish();
            // Of a child that was given up without a report of its runner.
            this.report_new_exits(ctx);
        });
        if let Some((_, later)) = self.timers.wake.replace((at, handle)) {
            ctx.cancel_future(later);
        }
    }

    /// What a timer says about its child. A report of readiness that waits in the queue, because the process was frozen or very busy, comes first.
    fn due(&self, key: ChildKey, timer: ChildTimer) -> SupervisorEvent {
        let child = self.running.get(key).and_then(|child| child.current.as_ref());
        match timer {
            ChildTimer::Late(run) if child.is_some_and(Incarnation::is_ready) => SupervisorEvent::Ready { run },
            timer => SupervisorEvent::Due(timer),
        }
    }

    /// Handles the end of an incarnation: fences it, because its thread may still run it, and queues the exit, which the caller reports.
    fn on_exit(&mut self, key: ChildKey, reason: ExitReason) {
        let Some(child) = self.running.get_mut(key) else { return };
        let Some(incarnation) = child.current.take() else { return };
        incarnation.fence();
        incarnation.control().wake();
        if let Some(at) = child.timer.take() {
            self.timers.remove(at, key);
        }
        let (temporary, generation) = (child.spec.restart == Restart::Temporary, incarnation.generation());
        match &reason {
            ExitReason::Normal if temporary => {
                tracing::debug!(child = %child.cell.path(), generation, "temporary child ended");
            }
            ExitReason::Normal | ExitReason::Shutdown => {
                tracing::info!(child = %child.cell.path(), generation, %reason, "child ended");
            }
            ExitReason::Panic(_) | ExitReason::Error(_) | ExitReason::Killed | ExitReason::Unresponsive => {
                tracing::warn!(child = %child.cell.path(), generation, %reason, "child ended");
            }
            ExitReason::Fatal(_) => {
                tracing::error!(child = %child.cell.path(), generation, %reason, "child cannot continue");
            }
        }
        // The cell of a temporary child is removed.
        if !temporary {
            child.cell.write(|status| status.last_exit = Some((reason.clone(), wall_clock())));
        }
        self.children.ended(&child.cell, &incarnation, reason);
        self.cells_changed = true;
    }

    fn finish(&mut self, reason: ExitReason, exceeded: Option<Exceeded>, ctx: &mut Context<Self>) {
        if let Some(Exceeded { id, reason }) = exceeded
            && self.cell.path().is_empty()
        {
            self.system.set_cause(RootEnd::IntensityExceeded { path: id.to_string(), reason });
        }
        self.incarnation.end_with(reason);
        ctx.stop();
    }

    /// Writes to the board what has changed, and notifies its subscribers once. Reports that this supervisor is ready.
    fn publish(&mut self) {
        let closing = self.plan.is_closing();
        while let Some(changed) = self.plan.next_changed() {
            let Some(child) = self.running.get(changed.key()) else { continue };
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
            self.cells_changed = true;
        }
        if std::mem::take(&mut self.cells_changed) {
            self.cell.notify();
        }
        if self.plan.is_startup_complete() {
            self.incarnation.ready();
        }
    }

    fn with_current(&self, key: ChildKey, act: impl FnOnce(&Incarnation)) {
        if let Some(current) = self.running.get(key).and_then(|child| child.current.as_ref()) {
            act(current);
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.receive_events(ctx);
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

impl Drop for Supervisor {
    /// Kills the children, so that none outlives its supervisor. The reports of their runners have no receiver then, so each exit
    /// is reported here. What is left, because the receiver is full or this incarnation is fenced, the next one reports.
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let Some(incarnation) = child.current.take() else { continue };
            incarnation.fence();
            incarnation.control().kill();
            // Otherwise the next incarnation has taken the child over.
            if self.children.ended(&child.cell, &incarnation, ExitReason::Killed) {
                if child.spec.restart == Restart::Temporary {
                    child.spec.actor.close();
                }
                child.cell.write(|status| {
                    status.state = ChildState::Stopped;
                    status.last_exit = Some((ExitReason::Killed, wall_clock()));
                });
            }
        }
        self.cell.notify();
        if self.exits.as_ref().is_some_and(|port| self.children.report_exits(port)) {
            tracing::debug!(supervisor = self.cell.path(), "exits are reported by the next incarnation");
        }
    }
}
