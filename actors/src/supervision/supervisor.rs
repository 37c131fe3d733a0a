//! The supervisor: carries out what [`Plan`] decides.
//!
//! Owns its children's incarnations and timers. Told by their runners, by whoever looks after heartbeats, and by
//! operators; tells its own supervisor through its end, and the port for exits. A restart kills all its children,
//! starts those of its spec afresh, and forgets dynamic ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, ResponseFuture, Running, SpawnHandle, StreamHandler};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::board::{Cell, ChildState, Posting, wall_clock};
use super::exit::ExitReason;
use super::fault::Fault;
use super::leash::Leash;
use super::life::Life;
use super::messages::{ChildExited, InjectFault, Operate, OperateError, Order, StartChild, StartChildError, StopChild};
use super::plan::{Event, Key, Plan, Spent, State, Step, Terms, Timer};
use super::policy::WhenSpent;
use super::port::Port;
use super::pulse::Pulse;
use super::realm::Realm;
use super::root::RootEnd;
use super::runner::{News, Obituary, Run};
use super::spec::{Birth, ChildSpec, Readiness, Restart, SupervisorSpec};

/// How long a supervisor below may take to accept an order. It only notes it down, so this is generous.
const ROUTE_PATIENCE: Duration = Duration::from_secs(2);

/// Keeps its children running. Made by [`ChildSpec::supervisor`] or [`Root::start`](super::Root::start).
pub struct Supervisor {
    plan: Plan,
    children: HashMap<Key, Child>,
    exits: Option<Port<ChildExited>>,
    life: Life,
    cell: Arc<Cell>,
    realm: Realm,
    news: UnboundedSender<News>,
    /// Taken by `started`.
    heard: Option<UnboundedReceiver<News>>,
}

struct Child {
    spec: ChildSpec,
    cell: Arc<Cell>,
    present: Option<Present>,
    timer: Option<SpawnHandle>,
    /// Strikes at the next birth.
    fault: Option<Fault>,
}

/// The running incarnation.
struct Present {
    life: Life,
    leash: Leash,
    until_ready: Option<SpawnHandle>,
}

impl Supervisor {
    pub(super) fn new(spec: &SupervisorSpec, birth: &Birth<Self>) -> Self {
        let (news, heard) = mpsc::unbounded_channel();
        let mut supervisor = Self {
            plan: Plan::new(spec.strategy),
            children: HashMap::new(),
            exits: spec.exits.clone(),
            life: birth.life().clone(),
            cell: Arc::clone(&birth.cell),
            realm: birth.realm.clone(),
            news,
            heard: Some(heard),
        };
        supervisor.cell.retain(|id| spec.children.iter().any(|child| child.id == id));
        for child in &spec.children {
            supervisor.adopt(child.clone());
        }
        supervisor
    }

    fn adopt(&mut self, spec: ChildSpec) {
        let lane = spec.lane.as_ref().unwrap_or_else(|| self.realm.root_lane());
        self.realm.know(lane);
        let cell = self.cell.child(&spec.id, spec.kind(), lane.name(), spec.seed.gauge());
        let ready_within = match spec.readiness {
            Readiness::Started => None,
            Readiness::Said { within } => (within < Duration::MAX).then_some(within),
        };
        let terms = Terms {
            id: spec.id.clone(),
            restart: spec.restart,
            policy: spec.policy.clone(),
            grace: spec.grace,
            ready_within,
        };
        let key = self.plan.add(terms);
        self.children.insert(key, Child { spec, cell, present: None, timer: None, fault: None });
    }

    fn on(&mut self, event: Event, ctx: &mut Context<Self>) {
        for step in self.plan.on(event, Instant::now(), fastrand::f64()) {
            self.carry_out(step, ctx);
        }
        self.publish();
        if self.plan.is_settled() {
            self.life.ready();
        }
    }

    fn carry_out(&mut self, step: Step, ctx: &mut Context<Self>) {
        match step {
            Step::Launch { key, run } => self.launch(key, run, ctx),
            Step::Stop { key } => self.with_present(key, |present| present.leash.stop()),
            Step::Kill { key } => self.with_present(key, |present| present.leash.kill()),
            Step::Abandon { key } => self.bid_farewell(key, ExitReason::Killed, ctx),
            Step::Wait { key, length, timer } => self.wait(key, length, timer, ctx),
            Step::Drain { key } => {
                if let Some(child) = self.children.get(&key) {
                    child.spec.seed.drain();
                }
            }
            Step::Forget { key } => {
                if let Some(child) = self.children.remove(&key) {
                    self.cell.retain(|id| id != child.spec.id);
                }
            }
            Step::Finish { reason, spent } => self.finish(reason, spent, ctx),
        }
    }

    fn launch(&mut self, key: Key, run: u64, ctx: &mut Context<Self>) {
        let Some(child) = self.children.get_mut(&key) else { return };
        if let Some(timer) = child.timer.take() {
            ctx.cancel_future(timer);
        }
        let mut generation = 0;
        child.cell.write(|vitals| {
            vitals.generation += 1;
            vitals.started_at = Some(wall_clock());
            generation = vitals.generation;
        });
        let (life, leash, pulse) = (Life::new(child.cell.path(), generation), Leash::default(), Pulse::new());
        let launched = Run {
            life: life.clone(),
            leash: leash.clone(),
            pulse: pulse.clone(),
            beat_every: self.realm.beat_every(),
            fault: child.fault.take(),
            obituary: Obituary::new(run, self.news.clone()),
        };
        let until_ready = matches!(child.spec.readiness, Readiness::Said { .. }).then(|| {
            let said = life.clone();
            let ready = async move { said.until_ready().await };
            ctx.spawn(wrap_future::<_, Self>(ready).map(move |(), this, ctx| this.on(Event::Ready { run }, ctx)))
        });
        let lane = child.spec.lane.as_ref().unwrap_or_else(|| self.realm.root_lane());
        child.present = Some(Present { life: life.clone(), leash: leash.clone(), until_ready });
        match child.spec.seed.begin(launched, &self.realm, &child.cell, lane) {
            Ok(thread) => {
                let permanent = child.spec.restart == Restart::Permanent;
                let (lane, news) = (lane.clone(), self.news.clone());
                let posting = Posting { run, life, leash, pulse, lane, thread, permanent, news };
                child.cell.write(|vitals| vitals.posting = Some(posting));
            }
            // The obituary, dropped unborn, brings it back to us as an exit.
            Err(reason) => tracing::error!(child = child.cell.path(), %reason, "child has no thread"),
        }
    }

    fn wait(&mut self, key: Key, length: Duration, timer: Timer, ctx: &mut Context<Self>) {
        let Some(child) = self.children.get_mut(&key) else { return };
        let set = ctx.run_later(length, move |this, ctx| this.on(Event::Due(timer), ctx));
        if let Some(before) = child.timer.replace(set) {
            ctx.cancel_future(before);
        }
    }

    /// An incarnation is over: whatever may be left of it is fenced off, and its end is told.
    fn bid_farewell(&mut self, key: Key, reason: ExitReason, ctx: &mut Context<Self>) {
        let Some(child) = self.children.get_mut(&key) else { return };
        let Some(present) = child.present.take() else { return };
        present.life.fence();
        present.leash.wake();
        for handle in [child.timer.take(), present.until_ready].into_iter().flatten() {
            ctx.cancel_future(handle);
        }
        let (path, generation) = (child.cell.path().to_owned(), present.life.generation());
        match &reason {
            ExitReason::Normal | ExitReason::Asked => tracing::info!(child = %path, generation, %reason, "child ended"),
            ExitReason::Panic(_) | ExitReason::Error(_) | ExitReason::Killed | ExitReason::Wedged => {
                tracing::warn!(child = %path, generation, %reason, "child ended");
            }
            ExitReason::Fatal(_) => tracing::error!(child = %path, generation, %reason, "child cannot go on"),
        }
        child.cell.write(|vitals| {
            vitals.posting = None;
            vitals.last_exit = Some((reason.clone(), wall_clock()));
        });
        if let Some(port) = &self.exits {
            let news = ChildExited { id: child.spec.id.clone(), path, generation, reason };
            if let Err(error) = port.tell(news) {
                tracing::warn!(child = child.cell.path(), %error, "exit was not told");
            }
        }
    }

    fn finish(&mut self, reason: ExitReason, spent: Option<Spent>, ctx: &mut Context<Self>) {
        if let Some(Spent { id, reason }) = spent
            && self.cell.path().is_empty()
        {
            self.realm.rule(RootEnd::BudgetSpent { path: id, reason });
        }
        self.life.end_with(reason);
        ctx.stop();
    }

    /// Writes on the board what has changed.
    fn publish(&mut self) {
        for changed in self.plan.changed() {
            let Some(child) = self.children.get(&changed.key()) else { continue };
            let state = match changed.state() {
                State::Queued | State::Starting => ChildState::Starting,
                State::Running => ChildState::Running,
                State::Stopping(_) => ChildState::Stopping,
                State::Backoff => ChildState::Backoff,
                State::Down => ChildState::Stopped,
                State::Failed => ChildState::Failed,
            };
            if state == ChildState::Failed && child.spec.policy.when_spent == WhenSpent::Park {
                tracing::error!(child = child.cell.path(), "child is parked until it is reset");
            }
            let (due, window) = (changed.due(), changed.budget().window());
            let recent = changed.budget().recent().collect();
            child.cell.write(|vitals| {
                vitals.state = state;
                vitals.due = due;
                vitals.window = window;
                vitals.recent = recent;
            });
        }
    }

    fn with_present(&self, key: Key, act: impl FnOnce(&Present)) {
        if let Some(present) = self.children.get(&key).and_then(|child| child.present.as_ref()) {
            act(present);
        }
    }

    fn find(&self, id: &str) -> Result<Key, OperateError> {
        let found = self.children.iter().find(|(_, child)| child.spec.id == id);
        found.map(|(key, _)| *key).ok_or_else(|| OperateError::NoSuchChild(id.to_owned()))
    }

    /// The supervisor below that a path leads through, and the path from there; `None` if it ends here.
    fn below<'p>(&self, path: &'p str) -> Result<Option<(&ChildSpec, &'p str)>, OperateError> {
        let Some((head, rest)) = path.split_once('/') else { return Ok(None) };
        let spec = &self.children[&self.find(head)?].spec;
        if spec.branch.is_some() { Ok(Some((spec, rest))) } else { Err(OperateError::NoSuchChild(path.to_owned())) }
    }

    fn operate(&mut self, id: &str, order: Order, ctx: &mut Context<Self>) -> Result<(), OperateError> {
        if self.plan.is_closing() {
            return Err(OperateError::Closing);
        }
        let key = self.find(id)?;
        tracing::info!(child = self.children[&key].cell.path(), ?order, "operator's order");
        self.on(Event::Order { key, order }, ctx);
        Ok(())
    }

    fn inject(&mut self, id: &str, fault: Fault, ctx: &mut Context<Self>) -> Result<(), OperateError> {
        let key = self.find(id)?;
        let Some(child) = self.children.get_mut(&key) else { return Err(OperateError::NoSuchChild(id.to_owned())) };
        tracing::warn!(child = child.cell.path(), ?fault, "fault injected");
        if fault.at_birth() {
            child.fault = Some(fault);
            return self.operate(id, Order::Restart, ctx);
        }
        let present = child.present.as_ref().ok_or_else(|| OperateError::NotRunning(id.to_owned()))?;
        present.leash.inject(fault);
        Ok(())
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(mut heard) = self.heard.take() {
            // Ends with the context: `self.news` keeps it open.
            ctx.add_stream(futures_util::stream::poll_fn(move |task| heard.poll_recv(task)));
        }
        self.on(Event::Start, ctx);
    }

    fn stopping(&mut self, ctx: &mut Self::Context) -> Running {
        if !self.plan.is_finished() {
            self.on(Event::Shutdown, ctx);
        }
        // The last child's end stops us again.
        if self.plan.is_finished() { Running::Stop } else { Running::Continue }
    }
}

impl StreamHandler<News> for Supervisor {
    fn handle(&mut self, news: News, ctx: &mut Self::Context) {
        match news {
            News::Started { run } => {
                let Some(child) = self.plan.key_of(run).and_then(|key| self.children.get(&key)) else { return };
                if child.spec.readiness == Readiness::Started {
                    self.on(Event::Ready { run }, ctx);
                }
            }
            News::Ended { run, reason } => {
                // What is told of a superseded run is void.
                let Some(key) = self.plan.key_of(run) else { return };
                self.bid_farewell(key, reason.clone(), ctx);
                self.on(Event::Ended { run, reason }, ctx);
            }
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

impl Handler<StartChild> for Supervisor {
    type Result = Result<(), StartChildError>;

    fn handle(&mut self, StartChild(spec): StartChild, ctx: &mut Self::Context) -> Self::Result {
        if self.plan.is_closing() {
            return Err(StartChildError::Closing);
        }
        if self.find(&spec.id).is_ok() {
            return Err(StartChildError::Taken(spec.id));
        }
        self.adopt(spec);
        self.on(Event::Added, ctx);
        Ok(())
    }
}

impl Handler<StopChild> for Supervisor {
    type Result = Result<(), OperateError>;

    fn handle(&mut self, StopChild { id }: StopChild, ctx: &mut Self::Context) -> Self::Result {
        if self.plan.is_closing() {
            return Err(OperateError::Closing);
        }
        let key = self.find(&id)?;
        self.on(Event::Remove { key }, ctx);
        Ok(())
    }
}

impl Handler<Operate> for Supervisor {
    type Result = ResponseFuture<Result<(), OperateError>>;

    fn handle(&mut self, Operate { path, order }: Operate, ctx: &mut Self::Context) -> Self::Result {
        let answer = match self.below(&path) {
            Ok(Some((spec, rest))) => return forward(spec, Operate { path: rest.to_owned(), order }),
            Ok(None) => self.operate(&path, order, ctx),
            Err(error) => Err(error),
        };
        Box::pin(std::future::ready(answer))
    }
}

impl Handler<InjectFault> for Supervisor {
    type Result = ResponseFuture<Result<(), OperateError>>;

    fn handle(&mut self, InjectFault { path, fault }: InjectFault, ctx: &mut Self::Context) -> Self::Result {
        let answer = match self.below(&path) {
            _ if !self.realm.options().faults_allowed => Err(OperateError::FaultsRefused),
            Ok(Some((spec, rest))) => return forward(spec, InjectFault { path: rest.to_owned(), fault }),
            Ok(None) => self.inject(&path, fault, ctx),
            Err(error) => Err(error),
        };
        Box::pin(std::future::ready(answer))
    }
}

impl Drop for Supervisor {
    /// No orphans: whatever ends a supervisor ends its children too.
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            let Some(present) = child.present.take() else { continue };
            present.life.fence();
            present.leash.kill();
            child.cell.write(|vitals| {
                vitals.state = ChildState::Stopped;
                vitals.posting = None;
                vitals.last_exit = Some((ExitReason::Killed, wall_clock()));
            });
        }
    }
}

/// Passes a question on to the supervisor that is its next station.
fn forward<M>(spec: &ChildSpec, message: M) -> ResponseFuture<Result<(), OperateError>>
where
    Supervisor: Handler<M>,
    M: actix::Message<Result = Result<(), OperateError>> + Send + 'static,
{
    let Some(branch) = &spec.branch else {
        return Box::pin(std::future::ready(Err(OperateError::NoSuchChild(spec.id.clone()))));
    };
    let (id, answer) = (spec.id.clone(), branch.port::<M>().ask(message, ROUTE_PATIENCE));
    Box::pin(async move { answer.await.unwrap_or_else(|source| Err(OperateError::Unreachable { id, source })) })
}
