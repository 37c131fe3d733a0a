//! Turns of an earlier incarnation: checks them until they end, because the end of one may have been lost with that incarnation.

use std::collections::HashMap;
use std::time::Duration;

use actix::{AsyncContext, Context, Handler, Message};
use tracing::warn;

use super::super::event::DispatchJob;
use super::super::ports::GATE_TIMEOUT;
use super::DispatchActor;
use crate::drain::permit::messages::{ListTurns, RunningTurn};
use crate::time::now_ms;
use caduceus_contract::messages::ledger::InboundId;
use caduceus_contract::turn_id::TurnId;
use caduceus_supervision::AskError;

/// How often adopted turns are checked; far longer than the time from a permit to the start of its turn.
const ADOPTED_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The adopted turns are to be checked.
#[derive(Message)]
#[rtype(result = "()")]
struct AdoptedCheckDue;

/// The gate has listed the running turns.
#[derive(Message)]
#[rtype(result = "()")]
struct TurnsListed(Result<Vec<RunningTurn>, AskError>);

impl DispatchActor {
    /// Checks the adopted turns after a while, if there are any.
    pub(super) fn check_adopted_later(&self, ctx: &mut Context<Self>) {
        if self.turns.running().has_adopted() {
            ctx.notify_later(AdoptedCheckDue, ADOPTED_CHECK_INTERVAL);
        }
    }

    /// Finds adopted turns that will report nothing: those with a permit that were never started, and those whose end was lost
    /// with the earlier incarnation.
    fn check_adopted(&mut self) {
        if !self.turns.running_mut().retain_adopted(|turn| self.plan.event_of(turn).is_some()) {
            return;
        }
        let turns = self.ports.gate.turns.ask(ListTurns, GATE_TIMEOUT);
        self.tasks.notify(async move { TurnsListed(turns.await) });
    }

    fn drop_lost_turns(&mut self, turns: Vec<RunningTurn>, ctx: &mut Context<Self>) {
        let turns: HashMap<TurnId, RunningTurn> =
            turns.into_iter().map(|running| (running.ticket.id, running)).collect();
        for turn in self.turns.running_mut().take_adopted() {
            let Some(event) = self.plan.event_of(turn) else { continue };
            match turns.get(&turn) {
                Some(RunningTurn { stop: Some(stop), .. }) => {
                    self.turns.running_mut().adopt(turn, Some(stop.clone()));
                }
                Some(RunningTurn { stop: None, .. }) => {
                    // If its child starts after this, it ends at once.
                    if !self.ports.permits.forget(turn) {
                        self.turns.running_mut().keep_adopted(turn);
                        continue;
                    }
                    if let Some(job) = self.drop_turn(turn, event, ctx) {
                        self.start_anew(turn, event, &job, now_ms(), ctx);
                    }
                }
                None if self.ports.permits.never_started(turn) => {
                    if let Some(job) = self.drop_turn(turn, event, ctx) {
                        self.start_anew(turn, event, &job, now_ms(), ctx);
                    }
                }
                // A turn is listed until its end was received.
                None => {
                    warn!(%turn, "turn exited without a report");
                    if let Some(job) = self.drop_turn(turn, event, ctx) {
                        self.handle_interrupted(event, &job, now_ms(), ctx);
                    }
                }
            }
        }
        let steps = self.plan.start_next();
        self.carry_out(steps, ctx);
    }

    fn drop_turn(&mut self, turn: TurnId, event: InboundId, ctx: &mut Context<Self>) -> Option<DispatchJob> {
        let job = self.turns.take_job(event);
        self.turns.running_mut().remove(turn);
        for steered in self.plan.take_steered(turn) {
            if let Some(job) = self.turns.take_job(steered) {
                self.run_again(steered, &job, now_ms(), ctx);
            }
        }
        // The next event starts once this one has its place again.
        self.plan.drop_turn(turn);
        job
    }
}

impl Handler<AdoptedCheckDue> for DispatchActor {
    type Result = ();

    fn handle(&mut self, _: AdoptedCheckDue, _: &mut Self::Context) {
        self.check_adopted();
    }
}

impl Handler<TurnsListed> for DispatchActor {
    type Result = ();

    fn handle(&mut self, TurnsListed(turns): TurnsListed, ctx: &mut Self::Context) {
        if let Ok(turns) = turns {
            self.drop_lost_turns(turns, ctx);
        }
        self.check_adopted_later(ctx);
    }
}
