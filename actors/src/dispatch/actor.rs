//! From event to turn: duplicate, profile, session, ledger, queue, permit.
//!
//! Owns the queues of the sessions, which hold the row numbers of events and not their content, and the events whose turns run.
//! Receives events and link states from the links, ends of turns from the turns, the state of the gate, and orders of
//! operators; sends requests to the ledger and the gate, and starts turns. A restart loses the queues; they are rebuilt from the ledger and
//! the gate's list of turns.

mod beginning; // Events whose turns start as soon as they are recorded.
mod ending; // The end of a turn.
mod handlers; // One per message.
mod links; // A link comes up or goes down.
mod rebuilding; // Reads the queues again after a start.
mod refusals; // Reports to chats after a drain.
mod starting; // Starts the turn of an event that has a slot.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Message};
use tracing::{error, info};
use uuid::Uuid;

use super::event::{ChatCommand, DispatchJob};
use super::links::{LinkDescriptors, UnlinkedEvents};
use super::notice::{Notice, NoticeLimit};
use super::plan::{DispatchPlan, DispatchStep};
use super::ports::{DispatchPorts, TurnFactory};
use super::sending;
use super::settings::DispatchSettings;
use super::start::{PermittedTurn, StartingTurn};
use super::started::StartedTurns;
use crate::drain::permit::TurnPermit;
use crate::hand_over::hand_over;
use crate::in_order::{InOrder, Place};
use crate::turn::id::TurnIds;
use caduceus_contract::link::{LinkId, Target};
use caduceus_contract::messages::ledger::{InboundId, InboundState, MarkInbound, Recorded};
use caduceus_contract::messages::turn::StopCause;
use caduceus_contract::turn_id::TurnId;
use caduceus_supervision::{ActorTasks, Incarnation, Port, StartContext};

/// Pause before a full mailbox is tried again.
const FULL_MAILBOX_PAUSE: Duration = Duration::from_millis(5);

/// Turns events into turns.
pub struct DispatchActor {
    settings: DispatchSettings,
    /// Shared with the requests in flight.
    ports: Arc<DispatchPorts>,
    plan: DispatchPlan,
    /// The content of events that have a turn, were steered into one, or have just arrived; that of others is in the ledger.
    jobs: HashMap<InboundId, DispatchJob>,
    incarnation: Incarnation,
    turn_factory: TurnFactory,
    /// The runtime may deliver the answers of the ledger in any order, but a session runs its events in order of arrival.
    arrivals: InOrder<Vec<AnsweredOffer>>,
    /// Requests to other actors, of which a turn in flight has one.
    tasks: ActorTasks<Self>,
    own: Port<RecordAnswered>,
    /// Turns that need a permit, at the end of this poll.
    to_start: Vec<StartingTurn>,
    /// Turns whose events are in the ledger as running, to start at the end of this poll.
    begun: Vec<PermittedTurn>,
    started_turns: StartedTurns,
    notices: NoticeLimit,
    /// The next slice of waiting events is scheduled.
    next_slice_due: bool,
    gate: GateState,
    /// Messages that arrived before the queues were rebuilt, processed afterwards; `None` once the queues are rebuilt.
    early: Option<EarlyEvents>,
    /// Turns of an earlier incarnation that still run.
    adopted: Vec<TurnId>,
    /// Links whose replies are being sent again; `true` if more were added meanwhile.
    resending: HashMap<LinkId, bool>,
    /// Descriptors of the links that are up.
    links: LinkDescriptors,
    /// Events of links that are no longer configured.
    unlinked: UnlinkedEvents,
    /// Chats are being notified of messages that a drain refused; `true` if there may be more since that began.
    reporting_refusals: Option<bool>,
}

/// The last state of the gate that was received.
#[derive(Debug, Default)]
struct GateState {
    draining: bool,
    /// The process is stopping.
    stopping: bool,
    /// It is a notification of the gate; otherwise it is an answer to a query.
    reported: bool,
}

/// Messages that arrived before the queues were rebuilt.
#[derive(Default)]
struct EarlyEvents {
    recorded: Vec<RecordedEvent>,
    /// Turns that exited without reporting how they ended.
    exited: HashSet<TurnId>,
}

/// The ledger has answered about events that arrived together.
#[derive(Message)]
#[rtype(result = "()")]
struct RecordAnswered {
    /// Their place among the answers, and the generation of the incarnation that assigned it; `None` for events whose place was
    /// answered before.
    place: Option<(u64, Place)>,
    /// In order of arrival.
    offers: Vec<AnsweredOffer>,
}

/// An event that was offered.
struct Offer {
    job: DispatchJob,
    /// What follows once it is on disk.
    action: EventAction,
}

/// An event that was offered, with the answer of the ledger.
struct AnsweredOffer {
    offer: Offer,
    /// `None`: it is not on disk, or not known to be.
    recorded: Option<Recorded>,
}

/// An event that is on disk, with the action that follows.
struct RecordedEvent {
    id: InboundId,
    job: DispatchJob,
    action: EventAction,
}

#[derive(Debug)]
enum EventAction {
    /// It is recorded as running: its turn starts.
    Begin(TurnId, TurnPermit),
    /// Its turn never started: it waits in order of arrival.
    Return,
    Run,
    /// It waits for the end of a drain, and the chat is notified.
    Hold,
    Refuse(Notice),
    Execute(ChatCommand),
}

impl DispatchActor {
    /// A dispatcher that makes turns with `turn_factory`.
    #[must_use]
    pub fn new(
        settings: DispatchSettings,
        ports: DispatchPorts,
        turn_factory: TurnFactory,
        start: &StartContext<Self>,
    ) -> Self {
        Self {
            plan: DispatchPlan::new(settings.values(), TurnIds::seeded(Uuid::now_v7())),
            settings,
            ports: Arc::new(ports),
            turn_factory,
            incarnation: start.incarnation().clone(),
            arrivals: InOrder::default(),
            tasks: ActorTasks::default(),
            own: start.own(),
            jobs: HashMap::new(),
            to_start: Vec::new(),
            begun: Vec::new(),
            started_turns: StartedTurns::default(),
            notices: NoticeLimit::default(),
            next_slice_due: false,
            gate: GateState::default(),
            early: Some(EarlyEvents::default()),
            adopted: Vec::new(),
            resending: HashMap::new(),
            links: LinkDescriptors::default(),
            unlinked: UnlinkedEvents::default(),
            reporting_refusals: None,
        }
    }

    /// Whether a turn exited before the queues were rebuilt: no further message about it follows.
    fn exited_early(&self, turn: TurnId) -> bool {
        self.early.as_ref().is_some_and(|early| early.exited.contains(&turn))
    }

    /// Whether the queues are not rebuilt yet.
    fn is_early(&self) -> bool {
        self.early.is_some()
    }

    /// The queues are rebuilt: processes what arrived before, and lets turns start.
    fn open(&mut self, ctx: &mut Context<Self>) {
        for event in self.early.take().unwrap_or_default().recorded {
            self.process(event, ctx);
        }
        let steps = self.plan.open();
        self.carry_out(steps, ctx);
    }

    /// Processes an event, or defers it until the queues are rebuilt.
    fn process_or_defer(&mut self, event: RecordedEvent, ctx: &mut Context<Self>) {
        match &mut self.early {
            Some(early) => early.recorded.push(event),
            None => self.process(event, ctx),
        }
    }

    fn process(&mut self, RecordedEvent { id, job, action }: RecordedEvent, ctx: &mut Context<Self>) {
        match action {
            EventAction::Begin(turn, permit) => self.begin(turn, permit, id, job, ctx),
            EventAction::Return => {
                let steps = self.plan.returned(id, &job.session, &job.target.link);
                self.carry_out(steps, ctx);
            }
            // The rebuild has queued it already.
            EventAction::Run | EventAction::Hold if self.plan.contains(id) => {}
            EventAction::Run => {
                let (key, link) = (job.session.clone(), job.target.link.clone());
                let has_descriptor = job.descriptor.is_some();
                self.jobs.insert(id, job);
                let steps = self.plan.arrived(id, &key, &link, has_descriptor);
                self.carry_out_for(id, steps, ctx);
            }
            EventAction::Hold => {
                let steps = self.plan.held(id, &job.session, &job.target.link);
                if !steps.contains(&DispatchStep::Busy(id)) {
                    info!(row = id.0, "event held until the drain ends");
                    self.notify(&job.target, &Notice::Held);
                }
                self.jobs.insert(id, job);
                self.carry_out_for(id, steps, ctx);
            }
            EventAction::Refuse(notice) => {
                self.ports.counts.refused();
                info!(row = id.0, reason = notice.reason(), "event refused");
                self.notify(&job.target, &notice);
                self.ports.status.report();
            }
            EventAction::Execute(command) => self.execute(command, &job, ctx),
        }
    }

    /// Carries out the steps for one event. If it waits now, its content stays in the ledger only.
    fn carry_out_for(&mut self, event: InboundId, steps: Vec<DispatchStep>, ctx: &mut Context<Self>) {
        let needs_content = |step: &DispatchStep| matches!(step, DispatchStep::RequestPermit(_, id) | DispatchStep::Steer(_, id, _) if *id == event);
        let needed = steps.iter().any(needs_content);
        self.carry_out(steps, ctx);
        if !needed {
            self.jobs.remove(&event);
        }
    }

    fn carry_out(&mut self, steps: Vec<DispatchStep>, ctx: &mut Context<Self>) {
        for step in steps {
            match step {
                DispatchStep::RequestPermit(turn, event) => self.start(turn, event, ctx),
                DispatchStep::Refuse(event) => self.refuse(event, &Notice::Maintenance, ctx),
                DispatchStep::Overflow(event) => self.refuse(event, &Notice::QueueFull, ctx),
                DispatchStep::Busy(event) => self.refuse(event, &Notice::Busy, ctx),
                DispatchStep::Interrupt(turn) => self.stop_turn(turn, StopCause::Superseded),
                DispatchStep::Steer(turn, event, during_drain) => self.steer(turn, event, during_drain),
                DispatchStep::Hold(event, during_drain) => self.hold(event, during_drain),
            }
        }
        self.ports.status.report();
        // The rest follows in slices: other actors on this thread and its heartbeat run in between.
        if !self.next_slice_due && self.plan.has_more() {
            self.next_slice_due = true;
            ctx.run_later(Duration::ZERO, |actor, ctx| {
                actor.next_slice_due = false;
                let steps = actor.plan.start_next();
                actor.carry_out(steps, ctx);
            });
        }
    }

    fn hold(&mut self, event: InboundId, during_drain: bool) {
        if during_drain && let Some(job) = self.jobs.get(&event) {
            info!(row = event.0, "event held until the drain ends");
            let target = job.target.clone();
            self.notify(&target, &Notice::Held);
        }
        self.mark(event, InboundState::Held, None, None);
    }

    fn stop_turn(&mut self, turn: TurnId, cause: StopCause) {
        if !self.started_turns.stop(turn, cause) {
            // It is being started, and is stopped as soon as its port exists.
            self.plan.stop_once_started(turn, cause);
        }
    }

    fn mark(&self, id: InboundId, state: InboundState, turn: Option<TurnId>, note: Option<String>) {
        let mark = MarkInbound { id, state, turn, note };
        let marked = hand_over(&self.ports.ledger.mark_inbound, mark, Some(&self.incarnation));
        self.tasks.spawn(marked, move |marked, _, _| {
            if let Err(error) = marked {
                error!(row = id.0, ?state, %error, "event state not updated in the ledger");
            }
        });
    }

    /// Sends a notice to a chat, unless the same notice was sent there within the interval.
    fn notify(&mut self, target: &Arc<Target>, notice: &Notice) {
        if self.notices.allows(notice, target, Instant::now()) {
            let sent = sending::send_notice(Arc::clone(&self.ports), target.clone(), notice.text());
            self.tasks.spawn(sent, |(), _, _| ());
        }
    }

    fn execute(&mut self, command: ChatCommand, job: &DispatchJob, ctx: &mut Context<Self>) {
        let turn = self.plan.turn_in(&job.session);
        match command {
            ChatCommand::Stop => {
                let notice = if turn.is_none() { Notice::NothingToStop } else { Notice::Stopped };
                if let Some(turn) = turn {
                    self.stop_turn(turn, StopCause::Command);
                }
                self.notify(&job.target, &notice);
            }
            ChatCommand::Status => {
                let (running, turns) = (turn.is_some(), self.plan.slots_in_use());
                let notice = Notice::Status { running, turns, draining: self.gate.draining };
                self.notify(&job.target, &notice);
            }
            ChatCommand::Retry => self.retry(job.clone(), ctx),
        }
    }
}

impl Actor for DispatchActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.tasks.attach_with(ctx, Self::start_together);
        self.rebuild(ctx);
        Self::watch_links(ctx);
    }
}
