//! An operator has a row of the ledger sent again, or drops it.
//!
//! Only the dispatcher of its chat can decide whether an event waits or runs, and only the first one sends replies again. So the plan and the
//! ledger change one after the other here: what leaves the plan and is not dropped in the ledger comes back, and what the ledger has
//! waiting is in the plan. An answer of the ledger that comes too late for the operator is applied all the same: what waits in the ledger since
//! then would otherwise wait for the next start, or the next time its link comes up.

use std::sync::Arc;

use actix::{Context, Handler, Message};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::info;

use super::super::plan::Withdrawal;
use super::DispatchActor;
use crate::hand_over::{HELD, LEDGER_TIMEOUT};
use crate::retry_plan::decide_event;
use caduceus_contract::api::ledger::{RowDetail, RowId, RowState};
use caduceus_contract::api::ledger_changes::{DropRowResponse, RetryRowResponse, RowRefusal, WaitsFor};
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::dispatch::{DropRow, RetryRow, RowError};
use caduceus_contract::messages::ledger::{InboundId, InboundRow, LedgerError, ReadInbound};
use caduceus_contract::messages::ledger_control::{
    LedgerHolder, RecordDrop, RecordRetry, RecordedDrop, RecordedRetry, ShowRow,
};
use caduceus_contract::wire::session::SessionKey;
use caduceus_supervision::{AskError, ResponseFuture};

type LedgerAnswer<T> = Result<Result<T, LedgerError>, AskError>;
/// Sends the answer to an operator.
type Reply<T> = oneshot::Sender<Result<T, RowError>>;

/// The ledger has answered with the event that is to run again.
#[derive(Message)]
#[rtype(result = "()")]
struct EventToRetry {
    order: RecordRetry,
    row: LedgerAnswer<InboundRow>,
    reply: Reply<RetryRowResponse>,
}

/// An event waits again in the ledger, or was refused.
#[derive(Message)]
#[rtype(result = "()")]
struct EventRetried {
    event: EventPlace,
    retried: LedgerAnswer<Result<RecordedRetry, RowRefusal>>,
    reply: Reply<RetryRowResponse>,
}

/// A reply is recorded again, or was refused.
#[derive(Message)]
#[rtype(result = "()")]
struct ReplyRetried {
    id: RowId,
    retried: LedgerAnswer<Result<RecordedRetry, RowRefusal>>,
    reply: Reply<RetryRowResponse>,
}

/// The ledger has answered with the event that is to be dropped.
#[derive(Message)]
#[rtype(result = "()")]
struct EventToDrop {
    order: DropRow,
    row: LedgerAnswer<InboundRow>,
    reply: Reply<DropRowResponse>,
}

/// The ledger has answered with the reply that is to be dropped.
#[derive(Message)]
#[rtype(result = "()")]
struct ReplyToDrop {
    order: DropRow,
    row: LedgerAnswer<RowDetail>,
    reply: Reply<DropRowResponse>,
}

/// A row is dropped in the ledger, or was refused.
#[derive(Message)]
#[rtype(result = "()")]
struct RowDropped {
    id: RowId,
    /// Where the event waited before.
    from: Option<(EventPlace, WaitingPlace)>,
    dropped: LedgerAnswer<Result<RecordedDrop, RowRefusal>>,
    reply: Reply<DropRowResponse>,
}

/// Where an event belongs in the plan.
struct EventPlace {
    id: InboundId,
    session: SessionKey,
    link: LinkId,
}

/// Where an event waited.
enum WaitingPlace {
    Queue,
    /// Among those without a link; with the milliseconds since 1970 at which it was recorded.
    Unlinked(i64),
}

impl EventPlace {
    fn of(row: &InboundRow) -> Self {
        Self { id: row.id, session: row.session.clone(), link: row.target.link.clone() }
    }
}

/// The answer of the ledger, or why there is none.
fn answered<T>(answer: LedgerAnswer<T>) -> Result<T, RowError> {
    match answer {
        Ok(answer) => answer.map_err(RowError::Ledger),
        // The ledger lost the request, or did not take it.
        Err(_) => Err(RowError::NotNow),
    }
}

/// As [`answered`], of an operation that the state of the row may refuse.
fn carried_out<T>(answer: LedgerAnswer<Result<T, RowRefusal>>) -> Result<T, RowError> {
    answered(answer)?.map_err(RowError::Refused)
}

/// The answer to an operator, who may no longer wait for it.
fn respond<T>(reply: Reply<T>, answer: Result<T, RowError>) {
    drop(reply.send(answer));
}

/// The answer to an operator, within [`LEDGER_TIMEOUT`]: what the ledger answers later is not lost, only not reported.
fn response<T: 'static>(answer: oneshot::Receiver<Result<T, RowError>>) -> ResponseFuture<Result<T, RowError>> {
    ResponseFuture::new(async move {
        let answer = timeout(LEDGER_TIMEOUT, answer).await;
        answer.ok().and_then(Result::ok).unwrap_or(Err(RowError::NotNow))
    })
}

impl DispatchActor {
    /// Whether the event of a row is to be decided on here, and can be now.
    fn check_share(&self, row: &InboundRow) -> Result<(), RowError> {
        if !self.settings.share().contains(&row.session) {
            return Err(RowError::OtherDispatcher);
        }
        if self.offers.is_early() { Err(RowError::NotNow) } else { Ok(()) }
    }

    /// Decides about an event that is to run again. `Ok(None)`: the ledger is asked.
    fn retry_event(
        &mut self,
        order: &RecordRetry,
        row: &InboundRow,
        ctx: &mut Context<Self>,
    ) -> Result<Option<RetryRowResponse>, RowError> {
        self.check_share(row)?;
        let (id, was) = (order.id, RowState::from(row.state));
        let event = EventPlace::of(row);
        if self.plan.contains(event.id) {
            let turn = self.plan.turn_with(event.id, &event.session);
            let refusal = turn.map_or(RowRefusal::Waits(id, was), |turn| RowRefusal::Runs(id, Some(turn)));
            return Err(RowError::Refused(refusal));
        }
        match decide_event(order, row) {
            Ok(()) => Ok(None),
            // It waits in the ledger alone: the answer to an earlier request was lost.
            Err(RowRefusal::Waits(..)) => Ok(Some(self.queue_again(&event, was, ctx))),
            Err(refusal) => Err(RowError::Refused(refusal)),
        }
    }

    /// The same request for the ledger.
    fn retrying(&self, RetryRow { id, finished }: RetryRow) -> RecordRetry {
        let links = Arc::new(self.ports.links.keys().cloned().collect());
        RecordRetry { id, finished, holder: LedgerHolder::Gateway, links }
    }

    /// Queues an event that waits in the ledger, in order of arrival, as a start of the gateway does.
    fn queue_again(&mut self, event: &EventPlace, was: RowState, ctx: &mut Context<Self>) -> RetryRowResponse {
        let EventPlace { id, session, link } = event;
        info!(row = id.0, was = was.word(), "event runs again on request of an operator");
        let is_open = self.plan.is_open(session.profile());
        let steps = self.plan.returned(*id, session, link);
        self.carry_out(steps, ctx);
        let row = RowId::Event(*id);
        RetryRowResponse {
            ok: true,
            id: row,
            was,
            row,
            state: RowState::Received,
            waits_for: self.waits_for(!is_open, link),
        }
    }

    fn waits_for(&self, is_draining: bool, link: &LinkId) -> Option<WaitsFor> {
        match (is_draining, self.links.is_up(link)) {
            (true, _) => Some(WaitsFor::Drain),
            (false, false) => Some(WaitsFor::Link),
            (false, true) => None,
        }
    }

    /// Takes an event that waits out of its queue, before it is dropped. `Ok(None)`: it waits nowhere.
    fn take_waiting(&mut self, row: &InboundRow) -> Result<Option<(EventPlace, WaitingPlace)>, RowError> {
        self.check_share(row)?;
        let event = EventPlace::of(row);
        let place = match self.plan.withdraw(event.id, &event.session) {
            Withdrawal::InTurn(turn) => {
                return Err(RowError::Refused(RowRefusal::Runs(RowId::Event(event.id), Some(turn))));
            }
            // Dropped now, it would run again with the answer of the turn.
            Withdrawal::BeingSteered => return Err(RowError::NotNow),
            Withdrawal::Withdrawn => Some(WaitingPlace::Queue),
            Withdrawal::Absent => self.links.unlinked_mut().remove(&event.link, event.id).map(WaitingPlace::Unlinked),
        };
        Ok(place.map(|place| (event, place)))
    }

    /// An event that was not dropped waits as before.
    fn put_back(&mut self, event: EventPlace, place: &WaitingPlace, ctx: &mut Context<Self>) {
        let EventPlace { id, session, link } = event;
        match place {
            WaitingPlace::Queue => {
                let steps = self.plan.returned(id, &session, &link);
                self.carry_out(steps, ctx);
            }
            WaitingPlace::Unlinked(received_at_ms) => self.links.unlinked_mut().push(link, *received_at_ms, id),
        }
    }

    fn record_drop(
        &mut self,
        DropRow { id, notice }: DropRow,
        from: Option<(EventPlace, WaitingPlace)>,
        reply: Reply<DropRowResponse>,
    ) {
        let process_started_ms = self.settings.fixed.process_started_ms;
        let drop = RecordDrop { id, holder: LedgerHolder::Gateway, process_started_ms, notice };
        let dropped = self.ports.ledger.drop.ask(drop, HELD);
        self.tasks.notify(async move { RowDropped { dropped: dropped.await, id, from, reply } });
    }
}

impl Handler<RetryRow> for DispatchActor {
    type Result = ResponseFuture<Result<RetryRowResponse, RowError>>;

    fn handle(&mut self, order: RetryRow, _: &mut Self::Context) -> Self::Result {
        let (reply, answer) = oneshot::channel();
        match order.id {
            RowId::Event(id) => {
                let order = self.retrying(order);
                let row = self.ports.ledger.read_inbound.ask(ReadInbound { id }, LEDGER_TIMEOUT);
                self.tasks.notify(async move { EventToRetry { row: row.await, order, reply } });
            }
            RowId::Reply(_) if !self.settings.share().is_first() => {
                return ResponseFuture::ready(Err(RowError::OtherDispatcher));
            }
            RowId::Reply(_) => {
                let retry = self.retrying(order);
                let retried = self.ports.ledger.retry.ask(retry, HELD);
                self.tasks.notify(async move { ReplyRetried { retried: retried.await, id: order.id, reply } });
            }
        }
        response(answer)
    }
}

impl Handler<EventToRetry> for DispatchActor {
    type Result = ();

    fn handle(&mut self, EventToRetry { order, row, reply }: EventToRetry, ctx: &mut Self::Context) {
        let decided = answered(row).and_then(|row| {
            let event = EventPlace::of(&row);
            Ok((event, self.retry_event(&order, &row, ctx)?))
        });
        let event = match decided {
            Ok((event, None)) => event,
            Ok((_, Some(response))) => return respond(reply, Ok(response)),
            Err(error) => return respond(reply, Err(error)),
        };
        let retried = self.ports.ledger.retry.ask(order, HELD);
        self.tasks.notify(async move { EventRetried { retried: retried.await, event, reply } });
    }
}

impl Handler<EventRetried> for DispatchActor {
    type Result = ();

    fn handle(&mut self, EventRetried { event, retried, reply }: EventRetried, ctx: &mut Self::Context) {
        let response = carried_out(retried).map(|retried| self.queue_again(&event, retried.was, ctx));
        respond(reply, response);
    }
}

impl Handler<ReplyRetried> for DispatchActor {
    type Result = ();

    fn handle(&mut self, ReplyRetried { id, retried, reply }: ReplyRetried, _: &mut Self::Context) {
        let response = carried_out(retried).map(|RecordedRetry { was, row, state, link }| {
            info!(row = %id, again = %row, "reply sent again on request of an operator");
            let waits_for = self.waits_for(false, &link);
            self.resend_replies(link);
            RetryRowResponse { ok: true, id, was, row, state, waits_for }
        });
        respond(reply, response);
    }
}

impl Handler<DropRow> for DispatchActor {
    type Result = ResponseFuture<Result<DropRowResponse, RowError>>;

    fn handle(&mut self, order: DropRow, _: &mut Self::Context) -> Self::Result {
        let (reply, answer) = oneshot::channel();
        match order.id {
            RowId::Event(id) => {
                let row = self.ports.ledger.read_inbound.ask(ReadInbound { id }, LEDGER_TIMEOUT);
                self.tasks.notify(async move { EventToDrop { row: row.await, order, reply } });
            }
            RowId::Reply(_) if !self.settings.share().is_first() => {
                return ResponseFuture::ready(Err(RowError::OtherDispatcher));
            }
            RowId::Reply(_) => {
                let row = self.ports.ledger.show.ask(ShowRow { id: order.id, with_text: false }, LEDGER_TIMEOUT);
                self.tasks.notify(async move { ReplyToDrop { row: row.await, order, reply } });
            }
        }
        response(answer)
    }
}

impl Handler<EventToDrop> for DispatchActor {
    type Result = ();

    fn handle(&mut self, EventToDrop { order, row, reply }: EventToDrop, _: &mut Self::Context) {
        match answered(row).and_then(|row| self.take_waiting(&row)) {
            Ok(from) => self.record_drop(order, from, reply),
            Err(error) => respond(reply, Err(error)),
        }
    }
}

impl Handler<ReplyToDrop> for DispatchActor {
    type Result = ();

    fn handle(&mut self, ReplyToDrop { order, row, reply }: ReplyToDrop, _: &mut Self::Context) {
        // A list of them that was read before could still be sent.
        let may_be_sent = answered(row)
            .map(|detail| detail.row.link.is_some_and(|link| self.links.is_resending(&LinkId(link.into()))));
        match may_be_sent {
            Ok(false) => self.record_drop(order, None, reply),
            Ok(true) => respond(reply, Err(RowError::NotNow)),
            Err(error) => respond(reply, Err(error)),
        }
    }
}

impl Handler<RowDropped> for DispatchActor {
    type Result = ();

    fn handle(&mut self, RowDropped { id, from, dropped, reply }: RowDropped, ctx: &mut Self::Context) {
        let response = carried_out(dropped).map(|RecordedDrop { was, notice }| {
            info!(row = %id, was = was.word(), "row dropped on request of an operator");
            let notified = notice.is_some();
            if let Some(link) = notice {
                self.ports.outbox.report_pending(None, link);
            }
            DropRowResponse { ok: true, id, was, notified }
        });
        match (&response, from) {
            (Err(_), Some((event, place))) => self.put_back(event, &place, ctx),
            (Ok(_), _) | (Err(_), None) => {
                let steps = self.plan.start_next();
                self.carry_out(steps, ctx);
            }
        }
        respond(reply, response);
    }
}
