//! From event to turn: duplicate, profile, session, ledger, queue, permit.
//!
//! Owns the queues of the sessions, which hold the rows of events and not what they say, and the events whose turns run. Told by
//! the links (events, and whether they are up), the turns (their end), the gate (its moves) and operators; asks the ledger and the
//! gate, and starts turns. A restart loses the queues; they are written anew from the ledger and from the gate's list of turns.

mod ending; // What the end of a turn leaves to be done.
mod handlers; // One a message.
mod links; // What follows when a link comes up or goes down.
mod rebuilding; // What it does when it comes up.
mod starting; // The way of an event from its place to its turn.
mod unread; // What chats are told after a drain.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Message, WrapFuture};
use tracing::{debug, error, info};

use super::arrivals::{Arrivals, Place};
use super::event::{Command, Job};
use super::links::{Descriptors, Orphans};
use super::notice::{Notice, NoticeLimit};
use super::outbox;
use super::plan::{DispatchPlan, DispatchStep};
use super::ports::{DispatchPorts, LEDGER_TIMEOUT, MARK_RETRIES, TurnMaker};
use super::settings::DispatchSettings;
use super::started::StartedTurns;
use crate::ledger::messages::{InboundId, InboundState, MarkInbound};
use crate::relay::messages::{LinkId, Target};
use crate::status::messages::StatusTouched;
use crate::turn::id::TurnId;
use crate::turn::messages::StopCause;
use caduceus_supervision::{AskError, Incarnation, Port, StartContext};

/// Pause before a full mailbox is tried again.
const SETTLE_PAUSE: Duration = Duration::from_millis(5);

/// Turns events into turns.
pub struct DispatchActor {
    settings: DispatchSettings,
    ports: DispatchPorts,
    plan: DispatchPlan,
    /// What the events say that have a turn, were handed to one, or have just come; the others lie in the ledger.
    jobs: HashMap<InboundId, Job>,
    incarnation: Incarnation,
    maker: TurnMaker,
    arrivals: Arrivals<Taken>,
    own: Port<Settled>,
    started_turns: StartedTurns,
    notices: NoticeLimit,
    /// The next slice of those in line is due.
    going_on: bool,
    gate: Heard,
    /// What came before the books were written: it is looked at once they are.
    early: Option<Early>,
    /// Turns of a former dispatcher that still count.
    adopted: Vec<TurnId>,
    /// Links whose replies are being sent again; `true` if more were left meanwhile.
    catching_up: HashMap<LinkId, bool>,
    /// What the links can do that are up.
    links: Descriptors,
    /// Events of links that are no more.
    orphans: Orphans,
    /// Chats are being told of what a drain refused; `true` if there may be more since that began.
    telling: Option<bool>,
}

/// What is known of the gate.
#[derive(Debug, Default)]
struct Heard {
    draining: bool,
    /// The process goes down.
    stopping: bool,
    /// The gate itself has told; else it was asked.
    told: bool,
}

/// News that came too early.
#[derive(Default)]
struct Early {
    taken: Vec<Taken>,
    /// Turns that ended without a word.
    gone: HashSet<TurnId>,
}

/// News: the ledger has spoken about an event.
#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Settled {
    place: Place,
    /// Of the instance that knows the place.
    generation: u64,
    /// `None` if nothing is to be done about it.
    taken: Option<Taken>,
}

/// An event that is on disk, with what is to be done about it.
#[derive(Clone)]
struct Taken {
    id: InboundId,
    job: Job,
    then: Then,
}

#[derive(Debug, Clone)]
enum Then {
    Run,
    /// It waits for the end of a drain, and the chat is told.
    Keep,
    Say(Notice),
    Obey(Command),
}

impl DispatchActor {
    /// A dispatcher that makes turns with `maker`.
    #[must_use]
    pub fn new(settings: DispatchSettings, ports: DispatchPorts, maker: TurnMaker, start: &StartContext<Self>) -> Self {
        Self {
            plan: DispatchPlan::new(settings.busy, settings.max_turns),
            settings,
            ports,
            maker,
            incarnation: start.incarnation().clone(),
            arrivals: Arrivals::default(),
            own: start.own(),
            jobs: HashMap::new(),
            started_turns: StartedTurns::default(),
            notices: NoticeLimit::default(),
            going_on: false,
            gate: Heard::default(),
            early: Some(Early::default()),
            adopted: Vec::new(),
            catching_up: HashMap::new(),
            links: Descriptors::default(),
            orphans: Orphans::default(),
            telling: None,
        }
    }

    /// Whether a turn has gone before the books were written: it will not be heard of again.
    fn gone_early(&self, turn: TurnId) -> bool {
        self.early.as_ref().is_some_and(|early| early.gone.contains(&turn))
    }

    /// Whether the books are not written yet.
    fn is_early(&self) -> bool {
        self.early.is_some()
    }

    /// The books are written: what came too early has its turn.
    fn open_books(&mut self, ctx: &mut Context<Self>) {
        for news in self.early.take().unwrap_or_default().taken {
            self.take(news, ctx);
        }
        let steps = self.plan.open();
        self.carry_out(steps, ctx);
    }

    /// The ledger has spoken about an event.
    fn settled(&mut self, place: Place, taken: Option<Taken>, ctx: &mut Context<Self>) {
        for taken in self.arrivals.settled(place, taken) {
            self.take_or_wait(taken, ctx);
        }
    }

    fn take_or_wait(&mut self, taken: Taken, ctx: &mut Context<Self>) {
        match &mut self.early {
            Some(early) => early.taken.push(taken),
            None => self.take(taken, ctx),
        }
    }

    fn take(&mut self, Taken { id, job, then }: Taken, ctx: &mut Context<Self>) {
        match then {
            // One that the ledger has already given is on the books.
            Then::Run | Then::Keep if self.plan.knows(id) => {}
            Then::Run => {
                let (key, link) = (job.session.clone(), job.target.link.clone());
                let equipped = job.descriptor.is_some();
                self.jobs.insert(id, job);
                let steps = self.plan.arrived(id, &key, &link, equipped);
                self.carry_out_for(id, steps, ctx);
            }
            Then::Keep => {
                let steps = self.plan.held(id, &job.session, &job.target.link);
                if !steps.contains(&DispatchStep::Busy(id)) {
                    info!(row = id.0, "an event is held until the drain ends");
                    self.say(&job.target, &Notice::Held, ctx);
                }
                self.jobs.insert(id, job);
                self.carry_out_for(id, steps, ctx);
            }
            Then::Say(notice) => {
                self.ports.counts.refused();
                info!(row = id.0, reason = notice.reason(), "an event is refused");
                self.say(&job.target, &notice, ctx);
                self.touch();
            }
            Then::Obey(command) => self.obey(command, &job, ctx),
        }
    }

    /// Carries out what was decided about one event. If it waits now, the ledger alone keeps what it says.
    fn carry_out_for(&mut self, event: InboundId, steps: Vec<DispatchStep>, ctx: &mut Context<Self>) {
        let needed = |step: &DispatchStep| matches!(step, DispatchStep::Ask(_, id) | DispatchStep::Steer(_, id, _) if *id == event);
        let needed = steps.iter().any(needed);
        self.carry_out(steps, ctx);
        if !needed {
            self.jobs.remove(&event);
        }
    }

    fn carry_out(&mut self, steps: Vec<DispatchStep>, ctx: &mut Context<Self>) {
        for step in steps {
            match step {
                DispatchStep::Ask(turn, event) => self.start(turn, event, ctx),
                DispatchStep::Refuse(event) => self.turn_away(event, &Notice::Maintenance, ctx),
                DispatchStep::Overflow(event) => self.turn_away(event, &Notice::QueueFull, ctx),
                DispatchStep::Busy(event) => self.turn_away(event, &Notice::Busy, ctx),
                DispatchStep::Interrupt(turn) => self.stop_turn(turn, StopCause::Superseded),
                DispatchStep::Steer(turn, event, late) => self.steer(turn, event, late, ctx),
                DispatchStep::Hold(event, came_late) => self.hold(event, came_late, ctx),
            }
        }
        self.touch();
        // The rest in slices: others on this thread have their turn in between, its heartbeat among them.
        if !self.going_on && self.plan.has_more() {
            self.going_on = true;
            ctx.run_later(Duration::ZERO, |actor, ctx| {
                actor.going_on = false;
                let steps = actor.plan.go_on();
                actor.carry_out(steps, ctx);
            });
        }
    }

    fn hold(&mut self, event: InboundId, came_late: bool, ctx: &mut Context<Self>) {
        if came_late && let Some(job) = self.jobs.get(&event) {
            info!(row = event.0, "an event is held until the drain ends");
            let target = job.target.clone();
            self.say(&target, &Notice::Held, ctx);
        }
        self.mark(event, InboundState::Held, None, None, ctx);
    }

    fn stop_turn(&mut self, turn: TurnId, cause: StopCause) {
        if !self.started_turns.stop(turn, cause) {
            // It has its place and is being started: it is stopped as soon as there is a way in.
            self.plan.stop_once_started(turn, cause);
        }
    }

    fn mark(
        &self,
        id: InboundId,
        state: InboundState,
        turn: Option<TurnId>,
        note: Option<String>,
        ctx: &mut Context<Self>,
    ) {
        let marked = self.marked(MarkInbound { id, state, turn, note });
        ctx.spawn(marked.into_actor(self));
    }

    /// Moves an event on in the ledger. A ledger that died with the order in hand is told again.
    fn marked(&self, mark: MarkInbound) -> impl Future<Output = ()> + use<> {
        let (port, incarnation) = (self.ports.mark_inbound.clone(), self.incarnation.clone());
        let mut asked = Box::pin(port.ask(mark.clone(), LEDGER_TIMEOUT));
        async move {
            let (id, state) = (mark.id, mark.state);
            for _ in 0..MARK_RETRIES {
                match asked.as_mut().await {
                    Err(AskError::Closed) if !incarnation.is_fenced() => {
                        asked.set(port.ask(mark.clone(), LEDGER_TIMEOUT));
                    }
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => {
                        return error!(row = id.0, ?state, %error, "an event was not moved on in the ledger");
                    }
                    Err(error) => return error!(row = id.0, ?state, %error, "an event was not moved on in the ledger"),
                }
            }
            error!(row = id.0, ?state, "ledger unavailable, event state not updated");
        }
    }

    /// Says something in a chat, unless it was said there just now.
    fn say(&mut self, target: &Target, notice: &Notice, ctx: &mut Context<Self>) {
        if self.notices.allows(notice, target, Instant::now()) {
            let said = outbox::say(self.ports.clone(), target.clone(), notice.text());
            ctx.spawn(said.into_actor(self));
        }
    }

    fn obey(&mut self, command: Command, job: &Job, ctx: &mut Context<Self>) {
        let turn = self.plan.turn_in(&job.session);
        match command {
            Command::Stop => {
                let notice = if turn.is_none() { Notice::NothingToStop } else { Notice::Stopped };
                if let Some(turn) = turn {
                    self.stop_turn(turn, StopCause::Asked);
                }
                self.say(&job.target, &notice, ctx);
            }
            Command::Status => {
                let (running, turns) = (turn.is_some(), self.plan.places());
                let notice = Notice::Status { running, turns, draining: self.gate.draining };
                self.say(&job.target, &notice, ctx);
            }
            Command::Retry => self.retry(job.clone(), ctx),
        }
    }

    fn touch(&self) {
        if let Err(error) = self.ports.status.tell(StatusTouched) {
            debug!(%error, "the status was not told");
        }
    }
}

impl Actor for DispatchActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.rebuild(ctx);
        Self::watch_links(ctx);
    }
}
