//! The supervisor: carries out what [`Plan`] decides.
//!
//! Owns its children's incarnations and timers. Told by their runners, by whoever looks after heartbeats, and by
//! operators; tells its own supervisor through its end, and the port for exits. A restart kills all its children,
//! starts those on its roll afresh, and forgets temporary ones.

mod orders; // What operators and actors may ask.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{Actor, ActorContext, AsyncContext, Context, Running, SpawnHandle, StreamHandler};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::supervision::board::{Cell, ChildState, Posting, wall_clock};
use crate::supervision::exit::ExitReason;
use crate::supervision::fault::Fault;
use crate::supervision::leash::Leash;
use crate::supervision::life::Life;
use crate::supervision::messages::ChildExited;
use crate::supervision::plan::{Event, Key, Plan, Spent, State, Step, Terms, Timer};
use crate::supervision::port::{Port, TellError};
use crate::supervision::pulse::Pulse;
use crate::supervision::realm::Realm;
use crate::supervision::root::RootEnd;
use crate::supervision::runner::{News, Obituary, Run};
use crate::supervision::spec::{Birth, ChildSpec, Readiness, Restart, Roll};

/// Pause before an exit is told again that did not fit into a mailbox.
const EXIT_RETRY: Duration = Duration::from_millis(20);

/// Keeps its children running. Made by [`ChildSpec::supervisor`] or [`Root::start`](super::Root::start).
pub struct Supervisor {
    plan: Plan,
    children: HashMap<Key, Child>,
    roll: Roll,
    exits: Option<Port<ChildExited>>,
    /// Exits that did not fit into the mailbox of who hears of them, oldest first: they are told again.
    untold: VecDeque<ChildExited>,
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

impl Child {
    fn exited(&self, generation: u64, reason: ExitReason) -> ChildExited {
        ChildExited { id: self.spec.id.clone(), path: self.cell.path().to_owned(), generation, reason }
    }
}

impl Supervisor {
    pub(super) fn new(roll: Roll, birth: &Birth<Self>) -> Self {
        let (news, heard) = mpsc::unbounded_channel();
        let spec = roll.spec();
        let mut supervisor = Self {
            plan: Plan::new(spec.strategy),
            children: HashMap::new(),
            roll,
            exits: spec.exits,
            untold: VecDeque::new(),
            life: birth.life().clone(),
            cell: Arc::clone(&birth.cell),
            realm: birth.realm.clone(),
            news,
            heard: Some(heard),
        };
        supervisor.cell.retain(|id| spec.children.iter().any(|child| child.id == id));
        for child in spec.children {
            supervisor.adopt(child);
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
        let terms =
            Terms { id: spec.id.clone(), restart: spec.restart, policy: spec.policy, grace: spec.grace, ready_within };
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
        let (path, generation) = (child.cell.path(), present.life.generation());
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
        let news = child.exited(generation, reason);
        if self.exits.is_some() {
            self.untold.push_back(news);
            // Those behind one that is told again wait for it.
            if self.untold.len() == 1 {
                self.tell_exits(ctx);
            }
        }
    }

    /// Tells the exits in order. Whoever counts on them would wait for ever for one that is lost.
    fn tell_exits(&mut self, ctx: &mut Context<Self>) {
        let Some(port) = &self.exits else { return };
        while let Some(news) = self.untold.front() {
            match port.tell(news.clone()) {
                Err(TellError::Full) => {
                    ctx.run_later(EXIT_RETRY, Self::tell_exits);
                    return;
                }
                Err(error @ (TellError::Closed | TellError::Fenced)) => {
                    tracing::warn!(child = %news.path, %error, "exit was not told");
                }
                Ok(()) => {}
            }
            self.untold.pop_front();
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
        let closing = self.plan.is_closing();
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
            if state == ChildState::Failed && !closing {
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
                let reason = self.plan.meaning(run, reason);
                self.bid_farewell(key, reason.clone(), ctx);
                self.on(Event::Ended { run, reason }, ctx);
            }
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

impl Drop for Supervisor {
    /// No orphans: whatever ends a supervisor ends its children too. Nobody is left to hear how they end, so it is told
    /// here: whoever counts on the news would wait for it for ever.
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
            self.untold.push_back(child.exited(present.life.generation(), ExitReason::Killed));
        }
        let Some(port) = &self.exits else { return };
        for news in self.untold.drain(..) {
            let path = news.path.clone();
            if let Err(error) = port.tell(news) {
                tracing::warn!(child = %path, %error, "exit was not told");
            }
        }
    }
}
