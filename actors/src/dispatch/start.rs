//! The start of one turn: permit, ledger, child.

use std::sync::Arc;
use std::time::Instant;

use super::event::DispatchJob;
use super::ports::{DispatchPorts, GATE_TIMEOUT, LEDGER_TIMEOUT, PERMIT_TIMEOUT, TurnFactory};
use super::started::StartedTurn;
use crate::drain::permit::messages::RequestPermit;
use crate::profile::messages::ProfilePorts;
use crate::turn::order::TurnOrder;
use caduceus_contract::messages::drain::{Refusal, TurnTicket};
use caduceus_contract::messages::ledger::{InboundId, InboundState, LedgerError, MarkInbound};
use caduceus_contract::turn_id::TurnId;
use caduceus_supervision::StartChild;

/// Why a turn did not start.
pub(super) enum NotStarted {
    /// The gate refused.
    Refused(Refusal),
    /// Temporary: the request is worth repeating.
    NoAnswer(String),
    /// The event is in a final state: it was queued twice.
    EventEnded,
    /// Permanent: it will not start.
    Failed(String),
}

/// Requests a permit from the gate, marks the event as running, and starts the turn.
pub(super) async fn start_turn(
    ports: Arc<DispatchPorts>,
    turn_factory: TurnFactory,
    profile: ProfilePorts,
    job: DispatchJob,
    turn: TurnId,
    event: InboundId,
) -> Result<StartedTurn, NotStarted> {
    let ticket = TurnTicket { id: turn, profile: job.profile.clone(), session: job.session.clone() };
    let request = RequestPermit { ticket, origin: job.origin };
    let permit = match ports.gate.permit.ask(request, PERMIT_TIMEOUT).await {
        Ok(Ok(permit)) => permit,
        Ok(Err(refusal)) => return Err(NotStarted::Refused(refusal)),
        Err(error) => return Err(NotStarted::NoAnswer(format!("the gate: {error}"))),
    };
    let no_ledger = |error: String| NotStarted::NoAnswer(format!("the ledger: {error}"));
    let mark = MarkInbound { id: event, state: InboundState::Running, turn: Some(turn), note: None };
    match ports.ledger.mark_inbound.ask(mark, LEDGER_TIMEOUT).await {
        Ok(Ok(())) => {}
        Ok(Err(LedgerError::Final { .. })) => return Err(NotStarted::EventEnded),
        Ok(Err(error)) => return Err(no_ledger(error.to_string())),
        Err(error) => return Err(no_ledger(error.to_string())),
    }
    let order = TurnOrder {
        id: turn,
        inbound: event,
        profile: job.profile,
        session: job.session,
        attempt: job.attempts + 1,
        event: job.event,
        raw_event: job.raw_event,
        target: job.target,
        descriptor: job.descriptor.unwrap_or_default(),
        permit,
    };
    let child = turn_factory(order, &profile);
    let started = StartedTurn { stop: Some(child.stop), steer: Some(child.steer), since: Instant::now() };
    match ports.start_child.ask(StartChild(child.spec), GATE_TIMEOUT).await {
        Ok(Ok(())) => Ok(started),
        Ok(Err(error)) => Err(NotStarted::Failed(error.to_string())),
        Err(error) => Err(NotStarted::Failed(error.to_string())),
    }
}
