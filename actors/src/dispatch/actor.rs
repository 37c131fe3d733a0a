//! From event to turn: duplicate, profile, session, ledger, queue, permit.
//!
//! Each data thread has one, with its share of the chats: every session is wholly in one. They share the slots for turns, and what concerns
//! no single chat is done by the first.
//!
//! Owns the queues of the sessions, which hold the row numbers of events and not their content, and the events whose turns run.
//! Receives events and link states from the links, ends of turns from the turns, the state of the gate, and orders of
//! operators; sends requests to the ledger and the gate, and starts turns. A restart loses the queues; they are rebuilt from the ledger and
//! the gate's list of turns.

mod adopting; // Turns of an earlier incarnation.
mod beginning; // Events whose turns start as soon as they are recorded.
mod ending; // The end of a turn.
mod handlers; // The messages that need a few lines.
mod interrupted; // Turns that a restart interrupted.
mod links; // A link comes up or goes down.
mod offering; // Records events, and processes them in order.
mod operators; // Rows that an operator has sent again or drops.
mod rebuilding; // Reads the queues again after a start.
mod refusals; // Reports to chats after a drain.
mod room; // Counts what waits over each link, and whether more may.
mod starting; // Starts the turn of an event that has a slot.
mod steering; // Steers an event into a running turn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, AsyncContext, Context, Handler, Message};
use tracing::{error, info};
use uuid::Uuid;

use super::event::DispatchJob;
use super::gate::GateState;
use super::links::LinkTable;
use super::notice::Notice;
use super::notice_limit::{NoticeAdmission, NoticeLimit};
use super::offers::OfferOrder;
use super::plan::{DispatchPlan, DispatchStep};
use super::ports::{DispatchPorts, TurnFactory};
use super::recorded::{EventAction, RecordedEvent};
use super::sending;
use super::settings::DispatchSettings;
use super::slots::{DispatcherSlots, SlotReserved};
use super::turns::DispatchTurns;
use crate::hand_over::hand_over;
use crate::turn::id::TurnIds;
use caduceus_contract::link::Target;
use caduceus_contract::messages::ledger::{InboundId, InboundState, MarkInbound};
use caduceus_contract::messages::turn::StopCause;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::chat_command::ChatCommand;
use caduceus_supervision::{ActorTasks, Incarnation, StartContext};

/// Turns events into turns.
pub struct DispatchActor {
    settings: DispatchSettings,
    /// Shared with the requests in flight.
    ports: Arc<DispatchPorts>,
    incarnation: Incarnation,
    /// Requests to other actors: a turn in flight has one, and so have notices and replies that are sent again.
    tasks: ActorTasks<Self>,
    /// The sessions and their queues.
    plan: DispatchPlan<DispatcherSlots>,
    /// Events that are being recorded.
    offers: OfferOrder,
    /// Events that have a slot, and their turns.
    turns: DispatchTurns,
    gate: GateState,
    links: LinkTable,
    notices: NoticeLimit,
}

/// The next slice of waiting events is due.
#[derive(Message)]
#[rtype(result = "()")]
struct SliceDue;

impl DispatchActor {
    /// A dispatcher that makes turns with `turn_factory`.
    #[must_use]
    pub fn new(
        settings: DispatchSettings,
        ports: DispatchPorts,
        turn_factory: TurnFactory,
        start: &StartContext<Self>,
    ) -> Self {
        let incarnation = start.incarnation().clone();
        let slots = ports.slots.of(settings.share().number(), incarnation.generation());
        ports.backlogs.reset(settings.share().number());
        Self {
            plan: DispatchPlan::new(settings.values(), TurnIds::seeded(Uuid::now_v7()), slots),
            settings,
            ports: Arc::new(ports),
            tasks: ActorTasks::default(),
            offers: OfferOrder::new(start.own(), incarnation.clone()),
            incarnation,
            turns: DispatchTurns::new(turn_factory),
            gate: GateState::default(),
            links: LinkTable::default(),
            notices: NoticeLimit::default(),
        }
    }

    /// The queues are rebuilt: processes what arrived before, and lets turns start.
    fn open(&mut self, ctx: &mut Context<Self>) {
        for event in self.offers.open() {
            self.process(event, ctx);
        }
        let steps = self.plan.open();
        self.carry_out(steps, ctx);
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
                self.turns.hold_job(id, job);
                let steps = self.plan.arrived(id, &key, &link, has_descriptor);
                self.carry_out_for(id, steps, ctx);
            }
            EventAction::Hold => {
                let steps = self.plan.held(id, &job.session, &job.target.link);
                if !steps.contains(&DispatchStep::Busy(id)) {
                    info!(row = id.0, "event held until the drain ends");
                    self.notify(&job.target, &Notice::Held);
                }
                self.turns.hold_job(id, job);
                self.carry_out_for(id, steps, ctx);
            }
            EventAction::Refuse(notice) => {
                self.count_refused(id, &notice);
                self.notify(&job.target, &notice);
                self.ports.status.report();
            }
            EventAction::Execute(command) => self.execute(command, &job),
        }
    }

    /// Carries out the steps for one event. If it waits now, its content stays in the ledger only.
    fn carry_out_for(&mut self, event: InboundId, steps: Vec<DispatchStep>, ctx: &mut Context<Self>) {
        let needs_content = |step: &DispatchStep| matches!(step, DispatchStep::RequestPermit(_, id) | DispatchStep::Steer(_, id, _) if *id == event);
        let needed = steps.iter().any(needs_content);
        self.carry_out(steps, ctx);
        if !needed {
            self.turns.take_job(event);
        }
    }

    fn carry_out(&mut self, steps: Vec<DispatchStep>, ctx: &mut Context<Self>) {
        for step in steps {
            match step {
                DispatchStep::RequestPermit(turn, event) => self.start(turn, event, ctx),
                DispatchStep::Refuse(event) => self.refuse(event, &Notice::Maintenance),
                DispatchStep::Overflow(event) => self.refuse(event, &Notice::QueueFull),
                DispatchStep::LinkFull(event) => self.refuse(event, &Notice::LinkFull),
                DispatchStep::Busy(event) => self.refuse(event, &Notice::Busy),
                DispatchStep::Interrupt(turn) => self.stop_turn(turn, StopCause::Superseded),
                DispatchStep::Steer(turn, event, during_drain) => self.steer(turn, event, during_drain),
                DispatchStep::Hold(event, during_drain) => self.hold(event, during_drain),
            }
        }
        self.count_waiting();
        self.ports.status.report();
        // The rest follows in slices: other actors on this thread and its heartbeat run in between.
        if self.plan.schedule_slice() {
            ctx.notify_later(SliceDue, Duration::ZERO);
        }
    }

    fn hold(&mut self, event: InboundId, during_drain: bool) {
        if during_drain && let Some(target) = self.turns.target(event) {
            info!(row = event.0, "event held until the drain ends");
            self.notify(&target, &Notice::Held);
        }
        self.mark(event, InboundState::Held, None, None);
    }

    fn stop_turn(&mut self, turn: TurnId, cause: StopCause) {
        if !self.turns.running().stop(turn, cause) {
            // It is being started, and is stopped as soon as its port exists.
            self.plan.stop_once_started(turn, cause);
        }
    }

    fn mark(&self, id: InboundId, state: InboundState, turn: Option<TurnId>, note: Option<String>) {
        let mark = MarkInbound { id, state, turn, note };
        let marked = hand_over(&self.ports.ledger.mark_inbound, mark, Some(&self.incarnation));
        let marked = async move {
            if let Err(error) = marked.await {
                error!(row = id.0, ?state, %error, "event state not updated in the ledger");
            }
        };
        self.tasks.run(marked);
    }

    /// Sends a notice to a chat, unless the same notice was sent there within the interval.
    fn notify(&mut self, target: &Arc<Target>, notice: &Notice) {
        match self.notices.admit(notice, target, Instant::now()) {
            NoticeAdmission::Send => {
                let sent = sending::send_notice(Arc::clone(&self.ports), target.clone(), notice.text());
                self.tasks.run(sent);
            }
            NoticeAdmission::SentLately => {}
            NoticeAdmission::TooManyChats { is_first } => {
                sending::notice_dropped(&self.ports, notice.reason(), is_first);
            }
        }
    }

    fn execute(&mut self, command: ChatCommand, job: &DispatchJob) {
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
                let (running, turns) = (turn.is_some(), self.plan.slots_in_use_over_all());
                let notice = Notice::Status { running, turns, draining: self.gate.is_draining() };
                self.notify(&job.target, &notice);
            }
            ChatCommand::Retry => self.retry(job.clone()),
        }
    }
}

impl Actor for DispatchActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.tasks.attach_with(ctx, Self::start_together);
        self.rebuild();
        Self::watch_links(ctx);
    }
}

impl Handler<SliceDue> for DispatchActor {
    type Result = ();

    fn handle(&mut self, _: SliceDue, ctx: &mut Self::Context) {
        let steps = self.plan.next_slice();
        self.carry_out(steps, ctx);
    }
}

impl Handler<SlotReserved> for DispatchActor {
    type Result = ();

    fn handle(&mut self, _: SlotReserved, ctx: &mut Self::Context) {
        let steps = self.plan.start_next();
        self.carry_out(steps, ctx);
    }
}
