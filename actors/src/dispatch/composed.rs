//! The dispatcher of the composed model: the real plan, with the decisions around it that its actor takes.

use super::links::LinkTable;
use super::plan::{DispatchPlan, DispatchStep, SlotAccess, SlotPlan};
use super::recorded::EventAction;
use super::recovery::AfterInterruption;
use super::replies::{is_being_sent, is_given_up, list_waiting};
use super::sending::AfterResend;
use crate::ledger::composed::ModelDisk;
use crate::settings::{Interrupted, Values};
use crate::turn::id::TurnIds;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::drain::{Origin, Refusal};
use caduceus_contract::messages::ledger::{
    InboundId, InboundState, ListInbound, ListOutbound, ListWaiting, OutboundRow, Recorded,
};
use caduceus_contract::messages::relay::{LinkChanged, LinkState};
use caduceus_contract::share::DispatchShare;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::action_result::ActionResult;
use caduceus_contract::wire::session::SessionKey;
use uuid::Uuid;

/// Rows per request: all.
const ALL: usize = usize::MAX;

/// The slots of a single dispatcher.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ModelSlots(SlotPlan);

impl SlotAccess for ModelSlots {
    fn change<R>(&mut self, change: impl FnOnce(&mut SlotPlan, usize) -> R) -> Option<R> {
        Some(change(&mut self.0, 0))
    }
}

/// What the dispatcher wants done, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DispatchOrder {
    /// Take a permit for this turn of this event.
    Start(TurnId, InboundId),
    /// The event is recorded as running: its turn, which has a permit, starts.
    Begin(TurnId, InboundId),
    /// The turn does not start: its permit is dropped.
    Drop(TurnId),
    Mark(InboundId, InboundState),
    /// Ask the chat whether an interrupted event is to run again.
    Ask(InboundId),
}

/// An event that is being recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Offer {
    /// The turn that has a permit for it, if it waits for nothing.
    pub(crate) turn: Option<TurnId>,
    /// The state in which it is recorded.
    pub(crate) state: InboundState,
}

/// What is to be done with a reply that may not have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resend {
    Nothing,
    GiveUp,
    Send,
}

/// The dispatcher of one process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ModelDispatch {
    plan: DispatchPlan<ModelSlots>,
    links: LinkTable,
    /// The number of the process, in place of the time of its start.
    process: i64,
}

impl ModelDispatch {
    /// The dispatcher of the process with this number, which has rebuilt its queues from the disk. `forgets_held`: the mutant that does
    /// not look for held events.
    pub(crate) fn started(
        process: u8,
        disk: &mut ModelDisk,
        interrupted: Interrupted,
        draining: bool,
        forgets_held: bool,
    ) -> (Self, Vec<DispatchOrder>) {
        let plan = DispatchPlan::new(&Values::default(), ids(process.into()), ModelSlots(SlotPlan::new(0, 1)));
        let mut dispatch = Self { plan, links: LinkTable::default(), process: i64::from(process) };
        let mut orders = orders_of(dispatch.plan.gate(draining, []));
        let running =
            ListInbound { share: DispatchShare::ALL, states: vec![InboundState::Running], after: None, limit: ALL };
        for row in disk.commit(&running, dispatch.process).expect("the list is read") {
            match AfterInterruption::of(interrupted, row.attempts) {
                AfterInterruption::RunAgain => {
                    let steps = dispatch.plan.restored(row.id, &row.session, &row.target.link, Origin::Internal);
                    orders.extend(orders_of(steps));
                }
                AfterInterruption::Ask => {
                    let mark = DispatchOrder::Mark(row.id, InboundState::Interrupted);
                    orders.extend([DispatchOrder::Ask(row.id), mark]);
                }
                AfterInterruption::GiveUp => orders.push(DispatchOrder::Mark(row.id, InboundState::Dead)),
                AfterInterruption::Drop => orders.push(DispatchOrder::Mark(row.id, InboundState::Interrupted)),
            }
        }
        let mut states = vec![InboundState::Received, InboundState::Held];
        states.truncate(if forgets_held { 1 } else { 2 });
        let waiting = ListWaiting { share: DispatchShare::ALL, states, after: None, limit: ALL };
        for row in disk.commit(&waiting, dispatch.process).expect("the list is read").rows {
            let steps = dispatch.plan.restored(row.id, &row.session, &row.link, Origin::External);
            orders.extend(orders_of(steps));
        }
        orders.extend(orders_of(dispatch.plan.open()));
        (dispatch, orders)
    }

    /// Makes dispatchers equal that decide the same. No turn has a permit.
    pub(crate) fn forget_past(&mut self) {
        self.plan.forget_past(ids(self.process));
    }

    /// An event was offered over the link, which is up. `admit` takes a permit.
    pub(crate) fn offered(&mut self, session: &SessionKey, admit: impl FnOnce(TurnId) -> bool) -> Offer {
        let waits = if self.plan.is_open(session.profile()) { InboundState::Received } else { InboundState::Held };
        match self.plan.offered(session, &LinkId::process(), |turn| admit(turn).then_some(())) {
            Some((turn, ())) => Offer { turn: Some(turn), state: InboundState::Running },
            None => Offer { turn: None, state: waits },
        }
    }

    /// The ledger has answered for an event that was offered.
    pub(crate) fn recorded(&mut self, offer: Offer, session: &SessionKey, recorded: Recorded) -> Vec<DispatchOrder> {
        let mut orders = Vec::new();
        let (id, action) = match (offer.turn, recorded) {
            (Some(turn), Recorded::New(id)) => {
                assert!(self.plan.begun(turn, id), "the plan has the turn");
                return vec![DispatchOrder::Begin(turn, id)];
            }
            (Some(turn), Recorded::Duplicate { id, state }) => {
                orders.push(DispatchOrder::Drop(turn));
                orders.extend(self.ended(turn));
                (id, EventAction::of_duplicate(state))
            }
            (None, recorded) => {
                self.plan.recorded(session, &LinkId::process());
                match recorded {
                    Recorded::New(id) => (id, EventAction::of_duplicate(offer.state)),
                    Recorded::Duplicate { id, state } => (id, EventAction::of_duplicate(state)),
                }
            }
        };
        if self.plan.contains(id) {
            return orders;
        }
        let link = LinkId::process();
        let steps = match action {
            Some(EventAction::Run) => self.plan.arrived(id, session, &link, true),
            Some(EventAction::Hold) => self.plan.held(id, session, &link),
            _ => Vec::new(),
        };
        orders.extend(orders_of(steps));
        orders
    }

    /// Whether the event of a turn is from a person or from the gateway itself.
    pub(crate) fn origin_of(&self, turn: TurnId) -> Origin {
        self.plan.origin_of(turn).expect("the plan has the turn")
    }

    /// The gate refused a turn.
    pub(crate) fn refused(&mut self, turn: TurnId, refusal: Refusal) -> Vec<DispatchOrder> {
        orders_of(self.plan.refused(turn, refusal, true))
    }

    /// A turn has ended.
    pub(crate) fn ended(&mut self, turn: TurnId) -> Vec<DispatchOrder> {
        orders_of(self.plan.ended(turn))
    }

    /// The gate reported its state.
    pub(crate) fn gate(&mut self, draining: bool) -> Vec<DispatchOrder> {
        orders_of(self.plan.gate(draining, []))
    }

    /// The link came up, or went down.
    pub(crate) fn link(&mut self, up: bool) -> Vec<DispatchOrder> {
        let state = if up { LinkState::Connected } else { LinkState::Waiting };
        let descriptors = up.then(|| std::sync::Arc::from([]));
        self.links.set(&LinkChanged { link: LinkId::process(), state, descriptors });
        orders_of(self.plan.link(&LinkId::process(), up))
    }

    /// Whether the replies that wait are to be sent now.
    pub(crate) fn begin_resend(&mut self) -> bool {
        self.links.begin_resend(&LinkId::process())
    }

    /// A round of replies has ended. Whether another is to follow.
    pub(crate) fn end_resend(&mut self) -> bool {
        self.links.end_resend(&LinkId::process())
    }

    /// The request for the replies that may have to be sent again.
    pub(crate) fn list_replies() -> ListOutbound {
        list_waiting()
    }

    /// Whether the next reply is sent after one with this answer.
    pub(crate) fn goes_on(answer: &ActionResult) -> bool {
        AfterResend::of(answer.not_sent) == AfterResend::Continue
    }

    /// What is to be done with a reply that was listed.
    pub(crate) fn resend(&self, row: &OutboundRow) -> Resend {
        if is_being_sent(row, self.process) {
            Resend::Nothing
        } else if is_given_up(row, self.process) {
            Resend::GiveUp
        } else {
            Resend::Send
        }
    }
}

/// The ids of the turns of a process.
fn ids(process: i64) -> TurnIds {
    TurnIds::seeded(Uuid::from_u128(process.unsigned_abs().into()))
}

/// The steps that occur with the default settings: events queue behind a running turn, and are held during a drain.
fn orders_of(steps: Vec<DispatchStep>) -> Vec<DispatchOrder> {
    let order = |step| match step {
        DispatchStep::RequestPermit(turn, event) => DispatchOrder::Start(turn, event),
        DispatchStep::Hold(event, _) => DispatchOrder::Mark(event, InboundState::Held),
        other => unreachable!("{other:?} with the default settings"),
    };
    steps.into_iter().map(order).collect()
}
