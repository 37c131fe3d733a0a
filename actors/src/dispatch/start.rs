//! The way of one turn from its place in the line to its start: permit, ledger, child.

use std::time::Instant;

use super::actor::Running;
use super::event::Job;
use super::ports::{DispatchPorts, GATE_TIMEOUT, LEDGER_TIMEOUT, PERMIT_TIMEOUT, TurnMaker};
use crate::drain::messages::{Refusal, TurnTicket};
use crate::drain::permit::messages::RequestPermit;
use crate::ledger::messages::{InboundId, InboundState, LedgerError, MarkInbound};
use crate::profile::messages::ProfileWays;
use crate::relay::descriptor::Descriptor;
use crate::relay::messages::{GetLink, Target};
use crate::turn::id::TurnId;
use crate::turn::order::TurnOrder;
use caduceus_supervision::StartChild;

/// Why a turn did not start.
pub(super) enum NotStarted {
    /// The gate said no.
    Refused(Refusal),
    /// Worth asking again.
    NoAnswer(String),
    /// The event is done with: it came onto the books late and twice.
    Over,
    /// It will not start.
    Broke(String),
}

/// Asks the gate for a permit and, with it, starts the turn.
pub(super) async fn start_turn(
    ports: DispatchPorts,
    maker: TurnMaker,
    ways: ProfileWays,
    job: Job,
    turn: TurnId,
    event: InboundId,
) -> Result<Running, NotStarted> {
    let ticket = TurnTicket { id: turn, profile: job.profile.clone(), session: job.session.clone() };
    let question = RequestPermit { ticket, origin: job.origin };
    let permit = match ports.permits.ask(question, PERMIT_TIMEOUT).await {
        Ok(Ok(permit)) => permit,
        Ok(Err(refusal)) => return Err(NotStarted::Refused(refusal)),
        Err(error) => return Err(NotStarted::NoAnswer(format!("the gate: {error}"))),
    };
    let no_ledger = |error: String| NotStarted::NoAnswer(format!("the ledger: {error}"));
    let mark = MarkInbound { id: event, state: InboundState::Running, turn: Some(turn), note: None };
    match ports.mark_inbound.ask(mark, LEDGER_TIMEOUT).await {
        Ok(Ok(())) => {}
        Ok(Err(LedgerError::Over { .. })) => return Err(NotStarted::Over),
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
    let child = maker(order, &ways);
    let running = Running { stop: Some(child.stop), steer: Some(child.steer), since: Instant::now() };
    match ports.start.ask(StartChild(child.spec), GATE_TIMEOUT).await {
        Ok(Ok(())) => Ok(running),
        Ok(Err(error)) => Err(NotStarted::Broke(error.to_string())),
        Err(error) => Err(NotStarted::Broke(error.to_string())),
    }
}

/// What the platform of a chat can do, as its link knows it by now.
pub(super) async fn descriptor_of(ports: &DispatchPorts, target: &Target) -> Descriptor {
    let Some(link) = ports.links.get(&target.link) else { return Descriptor::default() };
    let Ok(view) = link.view.ask(GetLink, GATE_TIMEOUT).await else {
        return Descriptor::default();
    };
    let own = view.descriptors.iter().find(|descriptor| descriptor.platform == target.platform);
    own.or(view.descriptors.first()).cloned().unwrap_or_default()
}
