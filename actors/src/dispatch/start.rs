//! The start of turns: permits, ledger, children. Those of one profile that start at the same time share each request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join;

use super::event::DispatchJob;
use super::ports::{DispatchPorts, GATE_TIMEOUT, PERMIT_TIMEOUT, TurnFactory};
use super::started::StartedTurn;
use crate::drain::permit::TurnPermit;
use crate::drain::permit::messages::{PermitRequest, RequestPermits};
use crate::hand_over::LEDGER_TIMEOUT;
use crate::profile::agent::AgentSettings;
use crate::profile::agent::messages::GetAgent;
use crate::profile::messages::ProfilePorts;
use crate::turn::order::TurnOrder;
use caduceus_contract::messages::batch::Batch;
use caduceus_contract::messages::drain::{Refusal, TurnTicket};
use caduceus_contract::messages::ledger::{InboundId, InboundState, LedgerError, MarkInbound};
use caduceus_contract::turn_id::TurnId;
use caduceus_supervision::StartChildren;

/// Timeout of the profile for its agent's configuration; after it each turn asks by itself. Short, because until then a turn cannot be
/// stopped.
const AGENT_TIMEOUT: Duration = Duration::from_millis(100);

/// A turn to start.
pub(super) struct StartingTurn {
    pub(super) turn: TurnId,
    pub(super) event: InboundId,
    pub(super) job: DispatchJob,
}

/// A turn with its permit.
pub(super) type PermittedTurn = (StartingTurn, TurnPermit);

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

/// What became of each turn.
pub(super) type StartOutcomes = Vec<(TurnId, InboundId, Result<StartedTurn, NotStarted>)>;

/// Requests permits from the gate. Returns the turns with one, and what became of the others.
pub(super) async fn request_permits(
    ports: Arc<DispatchPorts>,
    turns: Vec<StartingTurn>,
) -> (Vec<PermittedTurn>, StartOutcomes) {
    let request = |StartingTurn { turn, job, .. }: &StartingTurn| {
        let ticket = TurnTicket { id: *turn, profile: job.profile.clone(), session: job.session.clone() };
        PermitRequest { ticket, origin: job.origin }
    };
    let requests = RequestPermits(turns.iter().map(request).collect());
    let (mut permitted, mut outcomes) = (Vec::new(), Vec::new());
    match ports.gate.permits.ask(requests, PERMIT_TIMEOUT).await {
        Ok(answers) => {
            for (starting, answer) in turns.into_iter().zip(answers) {
                match answer {
                    Ok(permit) => permitted.push((starting, permit)),
                    Err(refusal) => outcomes.push((starting.turn, starting.event, Err(NotStarted::Refused(refusal)))),
                }
            }
        }
        Err(error) => {
            let no_answer = || NotStarted::NoAnswer(format!("the gate: {error}"));
            outcomes.extend(turns.iter().map(|starting| (starting.turn, starting.event, Err(no_answer()))));
        }
    }
    (permitted, outcomes)
}

/// Marks the events as running, and starts the turns, which are all of one profile.
pub(super) async fn start_turns(
    ports: Arc<DispatchPorts>,
    turn_factory: TurnFactory,
    profile: ProfilePorts,
    permitted: Vec<PermittedTurn>,
) -> StartOutcomes {
    let mut outcomes = Vec::with_capacity(permitted.len());
    let agent = profile.agent.get.ask(GetAgent, AGENT_TIMEOUT);
    let (running, agent) = join(mark_running(&ports, permitted, &mut outcomes), agent).await;
    // A turn without it asks again, for longer.
    let agent = agent.ok();
    let starting = running.into_iter().map(|(StartingTurn { turn, event, job }, permit)| {
        let child = turn_factory(order(turn, event, job, agent.clone(), permit), &profile);
        let started = StartedTurn { stop: Some(child.stop), steer: Some(child.steer), since: Instant::now() };
        ((turn, event, started), child.spec)
    });
    let (turns, specs): (Vec<_>, Vec<_>) = starting.unzip();
    match ports.start_children.ask(StartChildren(specs), GATE_TIMEOUT).await {
        Ok(answers) => outcomes.extend(turns.into_iter().zip(answers).map(|((turn, event, started), answer)| {
            (turn, event, answer.map(|()| started).map_err(|error| NotStarted::Failed(error.to_string())))
        })),
        Err(error) => outcomes.extend(
            turns.into_iter().map(|(turn, event, _)| (turn, event, Err(NotStarted::Failed(error.to_string())))),
        ),
    }
    outcomes
}

/// The turns whose events are marked as running in the ledger.
async fn mark_running(
    ports: &DispatchPorts,
    permitted: Vec<PermittedTurn>,
    outcomes: &mut StartOutcomes,
) -> Vec<PermittedTurn> {
    let mark = |(StartingTurn { turn, event, .. }, _): &PermittedTurn| MarkInbound {
        id: *event,
        state: InboundState::Running,
        turn: Some(*turn),
        note: None,
    };
    let marks = Batch(permitted.iter().map(mark).collect());
    let marked = match ports.ledger.mark_running.ask(marks, LEDGER_TIMEOUT).await {
        Ok(Ok(marked)) => marked,
        Ok(Err(error)) => permitted.iter().map(|_| Err(error.clone())).collect(),
        Err(error) => permitted.iter().map(|_| Err(LedgerError::Unwritable(error.to_string()))).collect(),
    };
    let mut running = Vec::with_capacity(permitted.len());
    for ((starting, permit), marked) in permitted.into_iter().zip(marked) {
        let why = match marked {
            Ok(()) => {
                running.push((starting, permit));
                continue;
            }
            Err(LedgerError::Final { .. }) => NotStarted::EventEnded,
            Err(error) => NotStarted::NoAnswer(format!("the ledger: {error}")),
        };
        outcomes.push((starting.turn, starting.event, Err(why)));
    }
    running
}

fn order(
    turn: TurnId,
    event: InboundId,
    job: DispatchJob,
    agent: Option<Arc<AgentSettings>>,
    permit: TurnPermit,
) -> TurnOrder {
    TurnOrder {
        id: turn,
        inbound: event,
        profile: job.profile,
        session: job.session,
        attempt: job.attempts + 1,
        event: job.event,
        raw_event: job.raw_event,
        target: job.target,
        descriptor: job.descriptor.unwrap_or_default(),
        agent,
        permit,
    }
}
