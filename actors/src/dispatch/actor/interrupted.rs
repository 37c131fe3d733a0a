//! Turns that a restart interrupted: their events run again, or their chats are notified.

use std::sync::Arc;

use actix::{Context, Handler, Message};
use tracing::{error, info, warn};

use super::super::event::DispatchJob;
use super::super::notice::{INTERRUPTED_SHOWN, Notice, more_to_retry};
use super::super::ports::DispatchPorts;
use super::super::recovery::AfterInterruption;
use super::DispatchActor;
use crate::hand_over::{LEDGER_TIMEOUT, hand_over};
use crate::time::now_ms;
use caduceus_contract::link::Target;
use caduceus_contract::messages::drain::Origin;
use caduceus_contract::messages::ledger::{
    InboundId, InboundRow, InboundState, LedgerError, ListInterrupted, WithdrawTurns,
};
use caduceus_contract::turn_id::TurnId;
use caduceus_supervision::AskError;

/// The ledger has answered which events `/retry` can run again.
#[derive(Message)]
#[rtype(result = "()")]
struct InterruptedFound {
    command: DispatchJob,
    found: Result<Result<Vec<InboundRow>, LedgerError>, AskError>,
}

impl DispatchActor {
    /// Queues the event of a turn that never started, because the dispatcher failed between its permit and its start.
    pub(super) fn start_anew(
        &mut self,
        turn: TurnId,
        event: InboundId,
        job: &DispatchJob,
        received_at_ms: i64,
        ctx: &mut Context<Self>,
    ) {
        info!(%turn, "turn was not started; its event waits again");
        self.withdraw(turn, event);
        let link = &job.target.link;
        if self.ports.links.contains_key(link) {
            let steps = self.plan.returned(event, &job.session, link);
            self.carry_out(steps, ctx);
        } else {
            self.links.unlinked_mut().push(link.clone(), received_at_ms, event);
        }
    }

    /// Takes back in the ledger that a turn runs, which never started.
    pub(super) fn withdraw(&self, turn: TurnId, event: InboundId) {
        let withdraw = WithdrawTurns { turns: vec![turn] };
        let withdrawn = hand_over(&self.ports.ledger.withdraw_turns, withdraw, Some(&self.incarnation));
        let withdrawn = async move {
            if let Err(error) = withdrawn.await {
                error!(row = event.0, %error, "event state not updated in the ledger");
            }
        };
        self.tasks.run(withdrawn);
    }

    /// Handles a turn that a crash interrupted, by `turns.interrupted`.
    pub(super) fn handle_interrupted(
        &mut self,
        id: InboundId,
        job: &DispatchJob,
        received_at_ms: i64,
        ctx: &mut Context<Self>,
    ) {
        let mark = |state, note: &str| (state, Some(note.to_owned()));
        let (state, note) = match AfterInterruption::of(self.settings.interrupted(), job.attempts) {
            AfterInterruption::RunAgain => {
                let job = DispatchJob { origin: Origin::Internal, ..job.clone() };
                return self.run_again(id, &job, received_at_ms, ctx);
            }
            AfterInterruption::GiveUp => {
                self.notify(&job.target, &Notice::GivenUp);
                mark(InboundState::Dead, Notice::GivenUp.reason())
            }
            AfterInterruption::Ask => {
                self.notify(&job.target, &Notice::Interrupted);
                mark(InboundState::Interrupted, "restart")
            }
            AfterInterruption::Drop => mark(InboundState::Interrupted, "restart, dropped"),
        };
        self.mark(id, state, None, note);
    }

    /// Queues an event again; its content is in the ledger.
    pub(super) fn run_again(&mut self, id: InboundId, job: &DispatchJob, received_at_ms: i64, ctx: &mut Context<Self>) {
        let link = &job.target.link;
        if self.ports.links.contains_key(link) {
            let steps = self.plan.restored(id, &job.session, link, job.origin);
            self.carry_out(steps, ctx);
        } else {
            self.links.unlinked_mut().push(link.clone(), received_at_ms, id);
        }
    }

    /// Runs the last interrupted event of a chat again.
    pub(super) fn retry(&mut self, command: DispatchJob) {
        let found = find_interrupted(Arc::clone(&self.ports), Arc::clone(&command.target));
        self.tasks.notify(async move { InterruptedFound { found: found.await, command } });
    }

    fn cannot_retry(&mut self, command: &DispatchJob, error: &str) {
        warn!(error, "event to run again not read from the ledger");
        self.notify(&command.target, &Notice::TurnFailed);
    }
}

/// The newest interrupted events of a chat: one to run, those to show, and one more if the list is cut.
async fn find_interrupted(
    ports: Arc<DispatchPorts>,
    chat: Arc<Target>,
) -> Result<Result<Vec<InboundRow>, LedgerError>, AskError> {
    const WANTED: usize = INTERRUPTED_SHOWN + 2;
    let (mut rows, mut before) = (Vec::new(), None);
    loop {
        let list = ListInterrupted { chat: Arc::clone(&chat), before, limit: WANTED - rows.len() };
        let page = match ports.ledger.list_interrupted.ask(list, LEDGER_TIMEOUT).await? {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        rows.extend(page.rows);
        before = page.next_before;
        if before.is_none() || rows.len() >= WANTED {
            return Ok(Ok(rows));
        }
    }
}

impl Handler<InterruptedFound> for DispatchActor {
    type Result = ();

    fn handle(&mut self, InterruptedFound { command, found }: InterruptedFound, ctx: &mut Self::Context) {
        match found {
            Ok(Ok(rows)) => {
                let mut jobs = rows.into_iter().filter_map(DispatchJob::from_row);
                let Some((id, job)) = jobs.next() else {
                    return self.notify(&command.target, &Notice::NothingToRetry);
                };
                // The command is marked as done in the ledger, so the event must not be lost after this.
                self.mark(id, InboundState::Received, None, Some("retried".to_owned()));
                self.run_again(id, &job, now_ms(), ctx);
                let others = jobs.map(|(_, job)| (job.target, job.event.text.clone())).collect();
                for (target, notice) in more_to_retry(others) {
                    self.notify(&target, &notice);
                }
            }
            Ok(Err(error)) => self.cannot_retry(&command, &error.to_string()),
            Err(error) => self.cannot_retry(&command, &error.to_string()),
        }
    }
}
