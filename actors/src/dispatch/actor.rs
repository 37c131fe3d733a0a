//! From event to turn: duplicate, profile, session, ledger, queue, permit.
//!
//! Owns the books of events that are not done, and the queues of the sessions. Told by the links (events), the turns (their
//! end), the gate (its moves) and operators; asks the ledger and the gate, and starts turns. A restart loses the books; they are written
//! anew from the ledger and from the gate's list of turns.

mod ending; // What the end of a turn leaves to be done.
mod handlers; // One a message.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Message, WrapFuture};
use tracing::{debug, error, warn};

use super::arrivals::{Arrivals, Place};
use super::event::{Command, Job};
use super::notice::{Notice, NoticeLimit};
use super::plan::{Plan, Step};
use super::ports::{DispatchPorts, GATE_PATIENCE, LEDGER_PATIENCE, MARK_RETRIES, TurnMaker};
use super::settings::DispatchSettings;
use super::start::{NotStarted, start_turn};
use crate::drain::messages::Refusal;
use crate::ledger::messages::{InboundId, InboundState, MarkInbound};
use crate::relay::messages::{LinkId, Target};
use crate::settings::WhenRefused;
use crate::status::messages::StatusTouched;
use crate::supervision::{AskError, Birth, Life, Port};
use crate::turn::id::TurnId;
use crate::turn::messages::{SteerTurn, StopCause, StopTurn};

/// Pause before a full mailbox is tried again.
const SETTLE_PAUSE: Duration = Duration::from_millis(5);
/// Pause before the gate is asked again after it did not answer.
const GATE_PAUSE: Duration = Duration::from_millis(200);

/// Turns events into turns.
pub struct DispatchActor {
    pub(super) settings: DispatchSettings,
    pub(super) ports: DispatchPorts,
    pub(super) plan: Plan,
    pub(super) books: HashMap<InboundId, Job>,
    pub(super) life: Life,
    maker: TurnMaker,
    arrivals: Arrivals<Taken>,
    own: Port<Settled>,
    running: HashMap<TurnId, Running>,
    /// Turns that are to stop and have not started yet.
    unwanted: HashMap<TurnId, StopCause>,
    notices: NoticeLimit,
    pub(super) draining: bool,
    /// The process goes down.
    pub(super) stopping: bool,
    /// The gate itself has told how it is.
    pub(super) gate_heard: bool,
    /// What came before the books were written: it is looked at once they are.
    early: Option<Early>,
    /// Turns of a former dispatcher that still count.
    pub(super) adopted: Vec<TurnId>,
    /// Links whose replies are being sent again; `true` if more were left meanwhile.
    pub(super) catching_up: HashMap<LinkId, bool>,
}

/// News that came too early.
#[derive(Default)]
struct Early {
    taken: Vec<Taken>,
    /// Turns that ended without a word.
    gone: Vec<TurnId>,
}

/// The ways into a turn that this incarnation started, or adopted.
pub(super) struct Running {
    pub(super) stop: Option<Port<StopTurn>>,
    pub(super) steer: Option<Port<SteerTurn>>,
    pub(super) since: Instant,
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
    Say(Notice),
    Obey(Command),
}

impl DispatchActor {
    /// A dispatcher that makes turns with `maker`.
    #[must_use]
    pub fn new(settings: DispatchSettings, ports: DispatchPorts, maker: TurnMaker, birth: &Birth<Self>) -> Self {
        Self {
            plan: Plan::new(settings.busy, settings.max_turns),
            settings,
            ports,
            maker,
            life: birth.life().clone(),
            arrivals: Arrivals::default(),
            own: birth.own(),
            books: HashMap::new(),
            running: HashMap::new(),
            unwanted: HashMap::new(),
            notices: NoticeLimit::default(),
            draining: false,
            stopping: false,
            gate_heard: false,
            early: Some(Early::default()),
            adopted: Vec::new(),
            catching_up: HashMap::new(),
        }
    }

    /// Whether a turn has gone before the books were written: it will not be heard of again.
    pub(super) fn gone_early(&self, turn: TurnId) -> bool {
        self.early.as_ref().is_some_and(|early| early.gone.contains(&turn))
    }

    /// The books are written: what came too early has its turn.
    pub(super) fn open_books(&mut self, ctx: &mut Context<Self>) {
        for news in self.early.take().unwrap_or_default().taken {
            self.take(news, ctx);
        }
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

    fn take(&mut self, taken: Taken, ctx: &mut Context<Self>) {
        match taken.then {
            Then::Run => {
                // One that the ledger has already given is on the books.
                if self.books.contains_key(&taken.id) {
                    return;
                }
                let key = taken.job.session.clone();
                self.books.insert(taken.id, taken.job);
                let steps = self.plan.arrived(taken.id, &key);
                self.carry_out(steps, ctx);
            }
            Then::Say(notice) => {
                self.ports.counts.refused();
                self.say(&taken.job.target, &notice, ctx);
                self.touch();
            }
            Then::Obey(command) => self.obey(command, &taken.job, ctx),
        }
    }

    pub(super) fn carry_out(&mut self, steps: Vec<Step>, ctx: &mut Context<Self>) {
        // What follows from a step waits here and not on the stack: any number in line may be turned away at once.
        let mut steps = VecDeque::from(steps);
        while let Some(step) = steps.pop_front() {
            match step {
                Step::Ask(turn, event) => steps.extend(self.start(turn, event, ctx)),
                Step::Refuse(event) => self.turn_away(event, &Notice::Maintenance, ctx),
                Step::Overflow(event) => self.turn_away(event, &Notice::QueueFull, ctx),
                Step::Busy(event) => self.turn_away(event, &Notice::Busy, ctx),
                Step::Interrupt(turn) => self.stop_turn(turn, StopCause::Superseded),
                Step::Steer(turn, event, late) => self.steer(turn, event, late, ctx),
                Step::Hold(event) => self.mark(event, InboundState::Held, None, None, ctx),
            }
        }
        self.touch();
    }

    /// Asks the gate, and starts the turn if it is let through. Answers what follows if it cannot even be asked.
    fn start(&mut self, turn: TurnId, event: InboundId, ctx: &mut Context<Self>) -> Vec<Step> {
        let Some(job) = self.books.get(&event).cloned() else { return self.plan.ended(turn) };
        let Some(ways) = self.settings.ways.get(&job.profile).cloned() else {
            // It was served when the event was taken; nothing ever runs under another instead.
            warn!(%turn, profile = %job.profile, "the profile of an event is served no more; it is refused");
            self.turn_away(event, &Notice::UnservedProfile, ctx);
            return self.plan.ended(turn);
        };
        let started = start_turn(self.ports.clone(), Arc::clone(&self.maker), ways, job, turn, event);
        ctx.spawn(started.into_actor(self).map(move |started, actor, ctx| match started {
            Ok(running) => {
                // It may be over already.
                if actor.plan.event_of(turn).is_some() {
                    actor.running.insert(turn, running);
                    if let Some(cause) = actor.unwanted.remove(&turn) {
                        actor.stop_turn(turn, cause);
                    }
                }
                actor.touch();
            }
            Err(NotStarted::Refused(why)) => {
                let hold = actor.settings.refused == WhenRefused::Hold;
                actor.not_started(turn, why, hold, ctx);
            }
            Err(NotStarted::NoAnswer(error)) => {
                warn!(%turn, %error, "a turn could not be started yet");
                ctx.run_later(GATE_PAUSE, move |actor, ctx| actor.not_started(turn, Refusal::Superseded, true, ctx));
            }
            Err(NotStarted::Over) => {
                actor.books.remove(&event);
                let steps = actor.plan.ended(turn);
                actor.carry_out(steps, ctx);
            }
            Err(NotStarted::Broke(error)) => {
                error!(%turn, %error, "a turn could not be started");
                actor.broke(turn, ctx);
            }
        }));
        Vec::new()
    }

    /// The event of a turn that was not started waits or is refused; one that is to stop by now is not run by another turn.
    fn not_started(&mut self, turn: TurnId, why: Refusal, hold: bool, ctx: &mut Context<Self>) {
        if let Some(cause) = self.unwanted.remove(&turn) {
            return self.stopped_early(turn, cause, ctx);
        }
        let steps = self.plan.refused(turn, why, hold);
        self.carry_out(steps, ctx);
    }

    /// Takes an event off the books and tells the chat why.
    fn turn_away(&mut self, event: InboundId, notice: &Notice, ctx: &mut Context<Self>) {
        self.ports.counts.refused();
        if let Some(job) = self.books.remove(&event) {
            self.say(&job.target, notice, ctx);
        }
        self.mark(event, InboundState::Refused, None, Some(format!("{notice:?}")), ctx);
    }

    fn steer(&mut self, turn: TurnId, event: InboundId, late: bool, ctx: &mut Context<Self>) {
        let Some(job) = self.books.get(&event) else { return };
        let key = job.session.clone();
        let question = SteerTurn { raw_event: Arc::clone(&job.raw_event) };
        let steer = self.running.get(&turn).and_then(|running| running.steer.as_ref());
        // Sent now and not when the runtime comes to it, so that the agent hears first what was said first.
        let asked = steer.map(|steer| steer.ask(question, GATE_PATIENCE));
        let steered = async move { Some(asked?.await) };
        ctx.spawn(steered.into_actor(self).map(move |steered, actor, ctx| {
            if let Some(Ok(Ok(()))) = steered {
                // Not done with before its turn is: should the process die with the turn, the event runs by itself.
                let state = if actor.plan.steered(turn, event) {
                    InboundState::Received
                } else {
                    actor.books.remove(&event);
                    InboundState::Done
                };
                actor.mark(event, state, Some(turn), Some("steered".to_owned()), ctx);
            } else {
                let hold = actor.settings.refused == WhenRefused::Hold;
                let steps = actor.plan.not_steered(event, &key, late, hold);
                actor.carry_out(steps, ctx);
            }
        }));
    }

    fn stop_turn(&mut self, turn: TurnId, cause: StopCause) {
        let Some(running) = self.running.get(&turn) else {
            // It has its place and is being started: it is stopped as soon as there is a way in.
            if self.plan.event_of(turn).is_some() {
                self.unwanted.insert(turn, cause);
            }
            return;
        };
        if let Some(stop) = &running.stop
            && let Err(error) = stop.tell(StopTurn { cause })
        {
            // It ended in the same moment.
            debug!(%turn, %error, "a turn was not told to stop");
        }
    }

    pub(super) fn adopt(&mut self, turn: TurnId, stop: Option<Port<StopTurn>>) {
        let since = self.running.get(&turn).map_or_else(Instant::now, |running| running.since);
        self.running.insert(turn, Running { stop, steer: None, since });
    }

    pub(super) fn abandon(&mut self, turn: TurnId) {
        self.running.remove(&turn);
    }

    pub(super) fn mark(
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
        let (port, life) = (self.ports.mark_inbound.clone(), self.life.clone());
        let mut asked = Box::pin(port.ask(mark.clone(), LEDGER_PATIENCE));
        async move {
            let (id, state) = (mark.id, mark.state);
            for _ in 0..MARK_RETRIES {
                match asked.as_mut().await {
                    Err(AskError::Closed) if !life.is_fenced() => asked.set(port.ask(mark.clone(), LEDGER_PATIENCE)),
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => {
                        return error!(row = id.0, ?state, %error, "an event was not moved on in the ledger");
                    }
                    Err(error) => return error!(row = id.0, ?state, %error, "an event was not moved on in the ledger"),
                }
            }
            error!(row = id.0, ?state, "no ledger lived to move an event on");
        }
    }

    /// Says something in a chat, unless it was said there just now.
    pub(super) fn say(&mut self, target: &Target, notice: &Notice, ctx: &mut Context<Self>) {
        if self.notices.allows(notice, target, Instant::now()) {
            let said = super::outbox::say(self.ports.clone(), target.clone(), notice.text());
            ctx.spawn(said.into_actor(self));
        }
    }

    fn obey(&mut self, command: Command, job: &Job, ctx: &mut Context<Self>) {
        let turns = self.plan.turns_in(&job.session);
        match command {
            Command::Stop => {
                let notice = if turns.is_empty() { Notice::NothingToStop } else { Notice::Stopped };
                for turn in turns {
                    self.stop_turn(turn, StopCause::Asked);
                }
                self.say(&job.target, &notice, ctx);
            }
            Command::Status => {
                let (_, running_in_all, _, _) = self.plan.counts();
                let running = !turns.is_empty();
                let notice = Notice::Status { running, turns: running_in_all, draining: self.draining };
                self.say(&job.target, &notice, ctx);
            }
            Command::Retry => self.retry(job.clone(), ctx),
        }
    }

    pub(super) fn touch(&self) {
        if let Err(error) = self.ports.status.tell(StatusTouched) {
            debug!(%error, "the status was not told");
        }
    }
}

impl Actor for DispatchActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.rebuild(ctx);
    }
}
