//! The state of the model, and its steps.

use std::sync::Arc;

use super::connector::{ChatMessage, Connector, Content};
use super::outbox::{Job, Sender};
use super::process::Process;
use super::{Composed, Mutant};
use crate::ledger::composed::ModelDisk;
use crate::relay::composed::Request;
use caduceus_contract::wire::action_result::ActionResult;

/// How often each fault happens at most. A drain begins, and may be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    pub(super) crashes: u8,
    pub(super) losses: u8,
    pub(super) drains: u8,
}

/// A guarantee that a step has broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Broken {
    /// The chat has the reply already, and this one has no mark.
    RepeatWithoutMark,
    /// The result of the reply is on disk already.
    SentAfterSettled,
    /// A turn of a person has a permit from a gate whose drain was answered, or starts without one.
    Admitted,
    /// A turn starts beside another of its session, or after a later one.
    Order,
}

/// One step of the gateway, of the connector, or a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The connector sends an event, which the dispatcher is offered.
    Arrive,
    /// The next transaction is on disk, and is answered.
    Commit,
    /// The connector gets what is next on its way to it: an acknowledgement, or an action, which it carries out.
    Deliver,
    /// From here on nothing reaches the connector any more, until the connection or the process ends. `written`: the next action leaves
    /// the process before.
    Stall { written: bool },
    /// From here on nothing reaches the disk any more, until the process ends.
    Hang,
    /// The link gets the result of an action.
    Result,
    /// The dial succeeds, and the descriptor arrives.
    Handshake,
    /// The replies that wait are to be sent.
    Resend,
    /// The dispatcher gets a report of the gate.
    GateReport,
    /// The process is killed, and started again.
    Crash,
    /// The connection or the dial fails.
    Lose,
    /// The gate closes, the marker is written, and the drain is answered.
    BeginDrain,
    /// The marker is removed, and the gate opens.
    CancelDrain,
}

/// The gateway with its disk, and the connector.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) disk: ModelDisk,
    /// The marker of a drain is on disk, and the drain was answered.
    pub(super) marker: bool,
    pub(super) connector: Connector,
    pub(super) process: Process,
    budget: Budget,
    /// The event of the last turn that started, by session.
    pub(super) last_started: [Option<usize>; 2],
    pub(super) broken: Option<Broken>,
}

impl World {
    pub(super) fn new(model: &Composed) -> Self {
        let mut disk = ModelDisk::new(Arc::clone(&model.target));
        let (process, orders) = Process::started(0, &mut disk, false, model);
        assert_eq!(orders, [], "an empty disk");
        Self {
            disk,
            marker: false,
            connector: Connector::new(model.events.len()),
            process,
            budget: model.budget,
            last_started: [None; 2],
            broken: None,
        }
    }

    /// The steps that can happen next, faults included.
    ///
    /// What is on its way to the connector is delivered at once, or not before the next fault: nothing but a fault depends on when it is,
    /// so the other steps need not be tried before it. The same holds of a transaction that nothing follows; and while the disk
    /// hangs, no other step changes what the next process finds.
    pub(super) fn steps(&self) -> Vec<Step> {
        if self.process.is_hung {
            return self.faults().collect();
        }
        if !self.is_moving() && self.process.jobs.front().is_some_and(Job::is_last) {
            return vec![Step::Commit, Step::Hang];
        }
        if !self.is_moving() {
            return self.work().chain(self.faults()).collect();
        }
        let is_action = self.process.acknowledgements.is_empty();
        let can_fail = self.budget.crashes > 0 || self.budget.losses > 0;
        let ends = match (can_fail, is_action) {
            (false, _) => 1,
            (true, false) => 2,
            (true, true) => 3,
        };
        let steps = [Step::Deliver, Step::Stall { written: false }, Step::Stall { written: true }];
        steps.into_iter().take(ends).collect()
    }

    /// Whether something is on its way to the connector, and not stalled.
    fn is_moving(&self) -> bool {
        let process = &self.process;
        !process.is_stalled && (!process.acknowledgements.is_empty() || process.link.has_queued())
    }

    /// The steps of the gateway and of the connector, without what is on its way.
    fn work(&self) -> impl Iterator<Item = Step> {
        let process = &self.process;
        [
            (process.link.is_up() && self.connector.next().is_some(), Step::Arrive),
            (!process.jobs.is_empty(), Step::Commit),
            (!process.results.is_empty(), Step::Result),
            (process.link.is_dialling(), Step::Handshake),
            (process.resend_due, Step::Resend),
            (!process.gate_reports.is_empty(), Step::GateReport),
        ]
        .into_iter()
        .filter_map(|(is_enabled, step)| is_enabled.then_some(step))
    }

    /// Whether nothing happens any more without a fault, an event or an operator.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.process.is_stalled && !self.process.is_hung && !self.is_moving() && self.work().next().is_none()
    }

    /// The faults that can happen next, and what an operator can do.
    fn faults(&self) -> impl Iterator<Item = Step> {
        let gate = &self.process.gate;
        [
            (self.budget.crashes > 0, Step::Crash),
            (self.budget.losses > 0, Step::Lose),
            (self.budget.drains > 0 && !gate.is_draining(), Step::BeginDrain),
            (gate.is_draining(), Step::CancelDrain),
        ]
        .into_iter()
        .filter_map(|(is_enabled, step)| is_enabled.then_some(step))
    }

    pub(super) fn apply(&mut self, model: &Composed, step: Step) {
        match step {
            Step::Arrive => self.arrive(model),
            Step::Commit => self.commit(model),
            Step::Deliver => self.deliver(),
            Step::Stall { written } => {
                self.process.is_stalled = true;
                if written {
                    self.process.link.write();
                }
            }
            Step::Hang => self.process.is_hung = true,
            Step::Result => self.result(model),
            Step::Handshake => {
                self.process.link.complete_handshake();
                self.connector.connected();
                let orders = self.process.dispatch.link(true);
                self.carry_out(model, orders);
                self.resend();
            }
            Step::Resend => self.resend(),
            Step::GateReport => {
                let report = self.process.gate_reports.pop_front();
                let orders = report.map(|draining| self.process.dispatch.gate(draining));
                self.carry_out(model, orders.unwrap_or_default());
            }
            Step::Crash => {
                self.budget.crashes -= 1;
                let number = self.process.number + 1;
                let (process, orders) = Process::started(number, &mut self.disk, self.marker, model);
                self.process = process;
                self.carry_out(model, orders);
            }
            Step::Lose => {
                self.budget.losses -= 1;
                self.lose(model);
            }
            Step::BeginDrain => {
                self.budget.drains -= 1;
                self.process.gate.begin();
                self.process.gate.written();
                self.marker = true;
                self.process.gate_reports.push_back(true);
            }
            Step::CancelDrain => {
                self.marker = false;
                self.process.gate.cancelled();
                self.process.gate_reports.push_back(false);
            }
        }
        // The pause ends before the link is up, which has the same effect.
        self.process.resend_due &= self.process.link.is_up();
        while self.budget.crashes == 0 && self.process.jobs.front().is_some_and(Job::is_last) {
            self.commit(model);
        }
        while self.budget.crashes == 0 && self.budget.losses == 0 && self.step_aside(model) {}
        if self.process.gate.is_empty() {
            self.process.dispatch.forget_past();
        }
    }

    /// Takes the next step on which neither an event nor a turn depends, if there is one. Once nothing can be lost any more, it makes no
    /// difference when that happens.
    fn step_aside(&mut self, model: &Composed) -> bool {
        let sender = |request| self.process.senders.get(request);
        if self.is_moving() {
            self.deliver();
        } else if self.process.jobs.front().is_some_and(Job::is_aside) {
            self.commit(model);
        } else if self.process.results.front().is_some_and(|request| !matches!(sender(request), Some(Sender::Turn(..))))
        {
            self.result(model);
        } else {
            return false;
        }
        true
    }

    pub(super) fn break_guarantee(&mut self, broken: Broken) {
        self.broken.get_or_insert(broken);
    }

    /// Acknowledgements go first.
    fn deliver(&mut self) {
        if let Some(event) = self.process.acknowledgements.pop_front() {
            return self.connector.acknowledge(event);
        }
        let Some(request) = self.process.link.write() else { return };
        let Some(ChatMessage { content, repeat }) = self.process.messages.get(&request).copied() else { return };
        let is_repeat = self.connector.show(content) && matches!(content, Content::Reply(_));
        if is_repeat && !repeat {
            self.break_guarantee(Broken::RepeatWithoutMark);
        }
        self.process.results.push_back(request);
    }

    fn lose(&mut self, model: &Composed) {
        let was_up = self.process.link.is_up();
        let answers = self.process.link.lose(model.is(Mutant::KeepsTheSocket));
        // Results that were read before the loss are still to be handled.
        self.process.acknowledgements.clear();
        self.process.is_stalled = false;
        if was_up {
            let orders = self.process.dispatch.link(false);
            self.carry_out(model, orders);
        }
        for (request, answer) in answers {
            self.sent(model, request, &answer);
        }
    }

    fn result(&mut self, model: &Composed) {
        let Some(request) = self.process.results.pop_front() else { return };
        if let Some(answered) = self.process.link.result(request, model.is(Mutant::TakesStaleResult)) {
            self.sent(model, answered, &ActionResult::done());
        }
    }

    /// A request was answered, with or without a result.
    fn sent(&mut self, model: &Composed, request: Request, answer: &ActionResult) {
        self.process.messages.remove(&request);
        if let Some(sender) = self.process.senders.remove(&request) {
            self.answered(model, sender, request.row, answer);
        }
    }
}
