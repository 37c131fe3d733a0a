//! The start of turns: permits, ledger, children. Those that start at the same time share each request.

use std::sync::Arc;
use std::time::Instant;

use super::event::DispatchJob;
use super::ports::{DispatchPorts, GATE_TIMEOUT, PERMIT_TIMEOUT, TurnFactory};
use super::started::StartedTurn;
use crate::config::messages::Served;
use crate::drain::permit::messages::RequestPermits;
use crate::drain::permit::{Gate, PermitRequest, TakenPermits, TurnPermit};
use crate::hand_over::{LEDGER_TIMEOUT, hand_over_and_wait};
use crate::profile::agent::AgentSettings;
use crate::turn::order::TurnOrder;
use caduceus_contract::messages::batch::Batch;
use caduceus_contract::messages::drain::{Refusal, TurnTicket};
use caduceus_contract::messages::ledger::{InboundId, InboundState, LedgerError, MarkInbound, WithdrawTurns};
use caduceus_contract::turn_id::TurnId;
use caduceus_supervision::{AskError, StartChildren, spawn};

/// A turn to start.
pub(super) struct StartingTurn {
    pub(super) turn: TurnId,
    pub(super) event: InboundId,
    pub(super) job: DispatchJob,
    pub(super) profile: Served,
}

/// A turn with its permit.
pub(super) struct PermittedTurn {
    pub(super) starting: StartingTurn,
    pub(super) permit: TurnPermit,
}

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

/// What became of turns that need a permit.
#[derive(Default)]
pub(super) struct PermitOutcomes {
    pub(super) permitted: Vec<PermittedTurn>,
    pub(super) refused: StartOutcomes,
    /// The gate has not read the marker of their profile yet: they are requested from its actor.
    pub(super) unread: Vec<StartingTurn>,
}

impl PermitOutcomes {
    fn add(&mut self, starting: StartingTurn, answer: Result<TurnPermit, Refusal>) {
        match answer {
            Ok(permit) => self.permitted.push(PermittedTurn { starting, permit }),
            Err(refusal) => self.refused.push((starting.turn, starting.event, Err(NotStarted::Refused(refusal)))),
        }
    }
}

/// The request for the permit of a turn.
pub(super) fn permit_request(turn: TurnId, job: &DispatchJob) -> PermitRequest {
    let ticket = TurnTicket { id: turn, profile: job.profile.clone(), session: job.session.clone() };
    PermitRequest { ticket, origin: job.origin }
}

/// Takes the permits of turns from the gate.
pub(super) fn take_permits(gate: &Gate, turns: Vec<StartingTurn>) -> PermitOutcomes {
    let turns = turns.into_iter().map(|starting| {
        let request = permit_request(starting.turn, &starting.job);
        (starting, request)
    });
    let TakenPermits { answered, unread } = gate.take_permits(turns);
    let mut outcomes = PermitOutcomes { unread, ..PermitOutcomes::default() };
    for (starting, answer) in answered {
        outcomes.add(starting, answer);
    }
    outcomes
}

/// Requests permits from the gate's actor, which answers once it has read the markers on which the turns depend.
pub(super) async fn request_permits(ports: Arc<DispatchPorts>, turns: Vec<StartingTurn>) -> PermitOutcomes {
    let requests = turns.iter().map(|starting| permit_request(starting.turn, &starting.job)).collect();
    let mut outcomes = PermitOutcomes::default();
    match ports.gate.permits.ask(RequestPermits(requests), PERMIT_TIMEOUT).await {
        Ok(answers) => turns.into_iter().zip(answers).for_each(|(starting, answer)| outcomes.add(starting, answer)),
        Err(error) => {
            let no_answer = || NotStarted::NoAnswer(format!("the gate: {error}"));
            outcomes.refused.extend(turns.iter().map(|starting| (starting.turn, starting.event, Err(no_answer()))));
        }
    }
    outcomes
}

/// Marks the events as running, and starts the turns.
pub(super) async fn start_turns(
    ports: Arc<DispatchPorts>,
    turn_factory: TurnFactory,
    permitted: Vec<PermittedTurn>,
) -> StartOutcomes {
    let mut outcomes = Vec::with_capacity(permitted.len());
    let running = mark_running(&ports, permitted, &mut outcomes).await;
    outcomes.extend(start_children(&ports, &turn_factory, running).await);
    outcomes
}

/// Starts the children of turns whose events are marked as running. The request is sent before the future is first polled.
pub(super) fn start_children(
    ports: &DispatchPorts,
    turn_factory: &TurnFactory,
    running: Vec<PermittedTurn>,
) -> impl Future<Output = StartOutcomes> + use<> {
    let start = |PermittedTurn { starting, permit }| {
        let StartingTurn { turn, event, job, profile } = starting;
        let child = turn_factory(order(turn, event, job, profile.agent, permit), &profile.ports);
        let started = StartedTurn { stop: Some(child.stop), steer: Some(child.steer), since: Instant::now() };
        ((turn, event, started), child.spec)
    };
    let (turns, specs): (Vec<_>, Vec<_>) = running.into_iter().map(start).unzip();
    let answered = ports.start_children.ask(StartChildren(specs), GATE_TIMEOUT);
    async move {
        let answers = match answered.await {
            Ok(answers) => answers.into_iter().map(|answer| answer.map_err(|error| error.to_string())).collect(),
            Err(error) => vec![Err(error.to_string()); turns.len()],
        };
        let outcome = |((turn, event, started), answer): (_, Result<(), String>)| {
            (turn, event, answer.map(|()| started).map_err(NotStarted::Failed))
        };
        turns.into_iter().zip(answers).map(outcome).collect()
    }
}

/// The turns whose events are marked as running in the ledger.
async fn mark_running(
    ports: &DispatchPorts,
    permitted: Vec<PermittedTurn>,
    outcomes: &mut StartOutcomes,
) -> Vec<PermittedTurn> {
    let mark = |PermittedTurn { starting, .. }: &PermittedTurn| MarkInbound {
        id: starting.event,
        state: InboundState::Running,
        turn: Some(starting.turn),
        note: None,
    };
    let marks = Batch(permitted.iter().map(mark).collect());
    let marked = match ports.ledger.mark_running.ask(marks, LEDGER_TIMEOUT).await {
        Ok(Ok(marked)) => marked,
        Ok(Err(error)) => permitted.iter().map(|_| Err(error.clone())).collect(),
        Err(error) => {
            if let AskError::Timeout | AskError::Closed = error {
                // It may still be carried out, and would show turns as running that never start.
                let withdraw = WithdrawTurns { turns: permitted.iter().map(|turn| turn.starting.turn).collect() };
                spawn(hand_over_and_wait(&ports.ledger.withdraw_turns, withdraw, None));
            }
            permitted.iter().map(|_| Err(LedgerError::Unwritable(error.to_string()))).collect()
        }
    };
    let mut running = Vec::with_capacity(permitted.len());
    for (PermittedTurn { starting, permit }, marked) in permitted.into_iter().zip(marked) {
        let why = match marked {
            Ok(()) => {
                running.push(PermittedTurn { starting, permit });
                continue;
            }
            Err(LedgerError::Final { .. }) => NotStarted::EventEnded,
            Err(error) => NotStarted::NoAnswer(format!("the ledger: {error}")),
        };
        outcomes.push((starting.turn, starting.event, Err(why)));
    }
    running
}

fn order(turn: TurnId, event: InboundId, job: DispatchJob, agent: Arc<AgentSettings>, permit: TurnPermit) -> TurnOrder {
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
