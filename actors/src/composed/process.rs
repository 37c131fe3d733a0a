//! One process of the gateway: its plans, and what is between them. A crash loses all of it.

use std::collections::{BTreeMap, VecDeque};

use super::connector::{ChatMessage, Content};
use super::outbox::{Job, Round, Sender};
use super::world::{Broken, World};
use super::{Composed, Mutant};
use crate::dispatch::composed::{DispatchOrder, ModelDispatch};
use crate::drain::composed::ModelGate;
use crate::ledger::composed::ModelDisk;
use crate::relay::composed::{ModelLink, Request};
use caduceus_contract::messages::drain::Origin;
use caduceus_contract::messages::ledger::{InboundId, InboundRow};
use caduceus_contract::turn_id::TurnId;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Process {
    /// Counts the processes; stands for the time.
    pub(super) number: u8,
    pub(super) dispatch: ModelDispatch,
    pub(super) gate: ModelGate,
    pub(super) link: ModelLink,
    /// What the ledger's thread has to do, in order.
    pub(super) jobs: VecDeque<Job>,
    /// Acknowledgements on their way to the connector.
    pub(super) acknowledgements: VecDeque<usize>,
    /// Nothing reaches the connector any more, until the connection ends.
    pub(super) is_stalled: bool,
    /// Nothing reaches the disk any more.
    pub(super) is_hung: bool,
    /// Results on their way to the link.
    pub(super) results: VecDeque<Request>,
    /// The messages of the actions that have no result.
    pub(super) messages: BTreeMap<Request, ChatMessage>,
    /// What waits for the result of an action.
    pub(super) senders: BTreeMap<Request, Sender>,
    /// The replies that are being sent again.
    pub(super) round: Option<Round>,
    /// The pause after a reply that could not be sent ends.
    pub(super) resend_due: bool,
    /// Reports of the gate on their way to the dispatcher.
    pub(super) gate_reports: VecDeque<bool>,
    /// The events of the turns that run.
    pub(super) running: BTreeMap<TurnId, usize>,
}

impl Process {
    /// A process that has read the disk.
    pub(super) fn started(
        number: u8,
        disk: &mut ModelDisk,
        marker: bool,
        model: &Composed,
    ) -> (Self, Vec<DispatchOrder>) {
        let gate = ModelGate::started(marker);
        let forgets_held = model.is(Mutant::ForgetsHeld);
        let (dispatch, orders) =
            ModelDispatch::started(number, disk, model.interrupted, gate.is_draining(), forgets_held);
        let process = Self {
            number,
            dispatch,
            gate,
            link: ModelLink::started(),
            jobs: VecDeque::new(),
            acknowledgements: VecDeque::new(),
            is_stalled: false,
            is_hung: false,
            results: VecDeque::new(),
            messages: BTreeMap::new(),
            senders: BTreeMap::new(),
            round: None,
            resend_due: false,
            gate_reports: VecDeque::new(),
            running: BTreeMap::new(),
        };
        (process, orders)
    }

    /// The time of this process on the disk.
    pub(super) fn now_ms(&self) -> i64 {
        i64::from(self.number)
    }
}

impl World {
    /// The connector sends the next event, and the link offers it.
    pub(super) fn arrive(&mut self, model: &Composed) {
        let Some(event) = self.connector.send() else { return };
        let Some((place, event)) = self.process.link.arrived(event) else { return };
        if model.is(Mutant::AcknowledgesBeforeTheDisk) {
            self.process.acknowledgements.push_back(event);
        }
        let Process { dispatch, gate, .. } = &mut self.process;
        let always = model.is(Mutant::AdmitsAfterTheAnswer);
        let offer = dispatch.offered(model.session(event), |turn| gate.admit(turn, Origin::External, always).is_ok());
        if offer.turn.is_some() && self.marker {
            self.break_guarantee(Broken::Admitted);
        }
        self.process.jobs.push_back(Job::Record { place, event, offer });
    }

    /// Carries out what the dispatcher wants done.
    pub(super) fn carry_out(&mut self, model: &Composed, orders: Vec<DispatchOrder>) {
        let mut orders = VecDeque::from(orders);
        while let Some(order) = orders.pop_front() {
            match order {
                DispatchOrder::Start(turn, row) => {
                    let origin = self.process.dispatch.origin_of(turn);
                    match self.process.gate.admit(turn, origin, model.is(Mutant::AdmitsAfterTheAnswer)) {
                        Ok(()) => {
                            if self.marker && origin == Origin::External {
                                self.break_guarantee(Broken::Admitted);
                            }
                            self.process.jobs.push_back(Job::MarkRunning { turn, row });
                        }
                        Err(refusal) => orders.extend(self.process.dispatch.refused(turn, refusal)),
                    }
                }
                DispatchOrder::Begin(turn, row) => orders.extend(self.begin(model, turn, row)),
                DispatchOrder::Drop(turn) => self.process.gate.release(turn),
                DispatchOrder::Mark(row, state) => self.process.jobs.push_back(Job::MarkEvent { row, state }),
                DispatchOrder::Ask(row) => self.process.jobs.push_back(Job::RecordQuestion { row }),
            }
        }
    }

    /// The turn of an event that is recorded as running starts. Its agent replies at once.
    pub(super) fn begin(&mut self, model: &Composed, turn: TurnId, row: InboundId) -> Vec<DispatchOrder> {
        let event = event_of(&self.read(row));
        let session = model.events[event];
        if !self.process.gate.has_permit(turn) {
            self.break_guarantee(Broken::Admitted);
        }
        let runs_beside = self.process.running.values().any(|running| model.events[*running] == session);
        if runs_beside || self.last_started[session] > Some(event) {
            self.break_guarantee(Broken::Order);
        }
        self.last_started[session] = Some(event);
        self.process.running.insert(turn, event);
        self.process.jobs.push_back(Job::RecordReply { turn, row });
        if model.is(Mutant::RunsSessionTwice) { self.process.dispatch.ended(turn) } else { Vec::new() }
    }

    fn read(&self, id: InboundId) -> InboundRow {
        self.disk.event(id).expect("the event is on disk")
    }

    /// The message that a turn sends, or the question about an interrupted one.
    pub(super) fn message(&self, row: InboundId, content: fn(usize) -> Content) -> ChatMessage {
        let row = self.read(row);
        let content = content(event_of(&row));
        // As in the delivery of a turn: messages of an earlier attempt may have arrived.
        ChatMessage { content, repeat: row.attempts > 1 && matches!(content, Content::Reply(_)) }
    }
}

/// The number of the event in a row.
fn event_of(row: &InboundRow) -> usize {
    row.event.parse().expect("the number of an event")
}
