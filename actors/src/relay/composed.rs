//! The link of the composed model: the real plan, the real order of events and the real answer of a send without a result. The rest is
//! the shell of the socket: what is queued, written and open.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::pending::{NOT_CONNECTED, WriteState};
use super::plan::LinkPlan;
use super::steps::{At, LinkStep, Loss, Prepared};
use super::timings::LinkTimings;
use super::unacked::{NextAction, OfferAnswer, UnackedEvents};
use crate::in_order::Place;
use caduceus_contract::messages::ledger::OutboundId;
use caduceus_contract::messages::relay::LinkState;
use caduceus_contract::wire::action_result::{ActionResult, NotSent};

/// An action that was sent over one connection. Stands for its request id, which is new for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Request {
    pub(crate) generation: u64,
    pub(crate) row: OutboundId,
}

/// An event that is offered to the dispatcher, and the connection over which it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct OfferedPlace {
    generation: u64,
    place: Place,
}

/// The link of one process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ModelLink {
    plan: LinkPlan,
    now: Duration,
    /// The profile is asked what to dial.
    preparing: bool,
    /// Generations whose dial is running or whose socket is open.
    sockets: BTreeSet<u64>,
    unacked: UnackedEvents<usize>,
    pending: BTreeMap<Request, WriteState>,
    /// Actions that are not written yet.
    queued: VecDeque<Request>,
}

impl ModelLink {
    /// The link of a process that has just started.
    pub(crate) fn started() -> Self {
        let mut link = Self {
            plan: LinkPlan::new(LinkTimings::default(), Duration::ZERO),
            now: Duration::ZERO,
            preparing: true,
            sockets: BTreeSet::new(),
            unacked: UnackedEvents::default(),
            pending: BTreeMap::new(),
            queued: VecDeque::new(),
        };
        assert_eq!(link.plan.start(link.at()), [LinkStep::Prepare]);
        link.dial();
        link
    }

    fn at(&self) -> At {
        At { now: self.now, random: 1.0 }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.plan.is_up()
    }

    /// Dials that run and sockets that are open.
    pub(crate) fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// Whether a dial runs.
    pub(crate) fn is_dialling(&self) -> bool {
        self.plan.state() == LinkState::Connecting && !self.preparing
    }

    /// The wait before a dial passes, and the profile answers what to dial: neither depends on anything else.
    fn dial(&mut self) {
        if self.plan.state() == LinkState::Waiting {
            self.now = self.plan.next_tick().unwrap_or(self.now);
            assert_eq!(self.plan.tick(self.at()), [LinkStep::Prepare]);
            self.preparing = true;
        }
        assert!(std::mem::take(&mut self.preparing), "nothing else asks the profile");
        let steps = self.plan.prepared(Prepared::Dialable { credentials: 1 }, self.at());
        for step in steps {
            let LinkStep::Dial { generation } = step else { unreachable!("{step:?} in place of a dial") };
            self.sockets.insert(generation);
        }
    }

    /// The dial succeeds, and the descriptor arrives.
    pub(crate) fn complete_handshake(&mut self) {
        let generation = self.plan.generation();
        assert_eq!(self.plan.dialled(generation, self.at()), [LinkStep::Hello]);
        self.plan.described(generation, self.at());
    }

    /// The connection or the dial fails, and the link dials again. Returns the answers of the pending sends. `keeps_socket`: the mutant
    /// that does not close it.
    pub(crate) fn lose(&mut self, keeps_socket: bool) -> Vec<(Request, ActionResult)> {
        let mut answers = Vec::new();
        for step in self.plan.lost(self.plan.generation(), &Loss::Other("lost".to_owned()), self.at()) {
            let LinkStep::Close(_) = step else { unreachable!("{step:?} in place of a close") };
            if !keeps_socket {
                self.sockets.clear();
            }
            self.unacked = UnackedEvents::default();
            self.queued.clear();
            let pending = std::mem::take(&mut self.pending).into_iter();
            answers.extend(pending.map(|(request, mut state)| (request, state.without_result("the link was lost"))));
        }
        self.dial();
        answers
    }

    /// An event has arrived; returned if it is to be offered now.
    pub(crate) fn arrived(&mut self, event: usize) -> Option<(OfferedPlace, usize)> {
        let (place, event) = self.unacked.arrived(event)?;
        Some((OfferedPlace { generation: self.plan.generation(), place }, event))
    }

    /// The dispatcher has taken an event. Returns the events to acknowledge, in order.
    pub(crate) fn taken(&mut self, offered: OfferedPlace, event: usize) -> Vec<usize> {
        if !self.is_open(offered.generation) {
            return Vec::new();
        }
        let (done, after) = self.unacked.answered(offered.place, OfferAnswer::Taken(event));
        assert_eq!(after, NextAction::Nothing, "nothing was refused");
        done
    }

    /// Sends the action of a reply.
    ///
    /// # Errors
    /// The answer without a link.
    pub(crate) fn send(&mut self, row: OutboundId) -> Result<Request, Box<ActionResult>> {
        if !self.is_up() {
            return Err(Box::new(ActionResult::not_sent(NotSent::NoLink, NOT_CONNECTED)));
        }
        let request = Request { generation: self.plan.generation(), row };
        let before = self.pending.insert(request, WriteState::Queued);
        assert_eq!(before, None, "the reply is being sent already");
        self.queued.push_back(request);
        Ok(request)
    }

    /// Whether an action waits to be written.
    pub(crate) fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Writes the next action; returned if it is still to be written.
    pub(crate) fn write(&mut self) -> Option<Request> {
        let request = self.queued.pop_front()?;
        self.pending.get_mut(&request)?.begin_write().then_some(request)
    }

    /// The result of an action arrives. Returns the action that it answers. `takes_stale`: the mutant that takes a result of an earlier
    /// connection for that of the first pending action.
    pub(crate) fn result(&mut self, request: Request, takes_stale: bool) -> Option<Request> {
        let answered = if takes_stale && !self.is_open(request.generation) {
            *self.pending.first_key_value()?.0
        } else {
            Some(request).filter(|request| self.is_open(request.generation))?
        };
        self.pending.remove(&answered).map(|_| answered)
    }

    fn is_open(&self, generation: u64) -> bool {
        self.is_up() && self.plan.generation() == generation
    }
}
