//! The end of a turn: updates the queues, the ledger and the conversation, and starts the next turn.

use std::sync::Arc;

use actix::Context;
use futures_util::future::{LocalBoxFuture, ready};
use tracing::error;

use super::super::notice::Notice;
use super::DispatchActor;
use crate::hand_over::hand_over;
use caduceus_contract::messages::ledger::{AppendHistory, HistoryEntry, InboundState, MarkInbound, SettleTurn};
use caduceus_contract::messages::turn::{StopCause, TurnEnded, TurnOutcome};
use caduceus_contract::time::millis;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::session::SessionKey;

impl DispatchActor {
    /// A turn that exited without reporting how it ended.
    pub(super) fn crashed(&mut self, turn: TurnId, ctx: &mut Context<Self>) {
        if let Some(target) = self.plan.event_of(turn).and_then(|event| self.turns.target(event)) {
            self.notify(&target, &Notice::TurnFailed);
        }
        let notice = Notice::TurnFailed.text();
        self.end_unreported(turn, TurnOutcome::Failed { notice }, ctx);
    }

    /// A turn that the shutdown ended before it reported.
    pub(super) fn shut_down(&mut self, turn: TurnId, ctx: &mut Context<Self>) {
        self.end_unreported(turn, TurnOutcome::Stopped(StopCause::Shutdown), ctx);
    }

    /// A turn that was stopped before it started, and so cannot notify its chat.
    pub(super) fn stopped_early(&mut self, turn: TurnId, cause: StopCause, ctx: &mut Context<Self>) {
        if let Some(notice) = Notice::of_stop(cause)
            && let Some(target) = self.plan.event_of(turn).and_then(|event| self.turns.target(event))
        {
            self.notify(&target, &notice);
        }
        self.end_unreported(turn, TurnOutcome::Stopped(cause), ctx);
    }

    fn end_unreported(&mut self, turn: TurnId, outcome: TurnOutcome, ctx: &mut Context<Self>) {
        let ended = TurnEnded { id: turn, outcome, reply: String::new(), keep: 0, replies: Vec::new() };
        let written = self.end_turn(ended, ctx);
        self.tasks.run(written);
    }

    /// Removes a turn; resolves when the ledger has its new state.
    pub(super) fn end_turn(&mut self, ended: TurnEnded, ctx: &mut Context<Self>) -> LocalBoxFuture<'static, ()> {
        let TurnEnded { id: turn, outcome, reply, keep, replies } = ended;
        let started = self.turns.running_mut().remove(turn);
        let Some(event) = self.plan.event_of(turn) else {
            return self.settled_turn(turn, SettleTurn { event: None, replies, history: None });
        };
        let steered = self.plan.take_steered(turn);
        if outcome == TurnOutcome::Stopped(StopCause::Shutdown) {
            // It stays `running` in the ledger: the next start treats it as interrupted by `turns.interrupted`. Events that
            // were steered into it stay `received`, and run then.
            self.ports.counts.ended(&outcome, None);
            self.turns.take_job(event);
            for event in steered {
                self.turns.take_job(event);
            }
            self.plan.drop_turn(turn);
            return self.settled_turn(turn, SettleTurn { event: None, replies, history: None });
        }
        let (state, note) = match &outcome {
            TurnOutcome::Done => (InboundState::Done, None),
            TurnOutcome::Failed { notice, .. } => (InboundState::Failed, Some(notice.clone())),
            TurnOutcome::Stopped(cause) => (InboundState::Interrupted, Some(format!("stopped: {cause:?}"))),
        };
        self.ports.counts.ended(&outcome, started.map(|started| millis(started.since.elapsed())));
        let mut messages = Vec::new();
        for event in steered {
            messages.extend(self.turns.take_job(event).map(|job| job.event.text.clone()));
            // After a stop, `/retry` runs the turn's own event again.
            let state = if state == InboundState::Failed { state } else { InboundState::Done };
            self.mark(event, state, Some(turn), Some("steered".to_owned()));
        }
        let history =
            self.turns.take_job(event).filter(|_| state == InboundState::Done && !reply.is_empty()).map(|job| {
                messages.insert(0, job.event.text.clone());
                Arc::new(conversation(job.session, messages, reply, keep))
            });
        let mark = MarkInbound { id: event, state, turn: Some(turn), note };
        let written = self.settled_turn(turn, SettleTurn { event: Some(mark), replies, history });
        let steps = self.plan.ended(turn);
        self.carry_out(steps, ctx);
        written
    }

    /// Writes the end of a turn; resolves when it is in the ledger, or the ledger owes it to the disk.
    fn settled_turn(&self, turn: TurnId, settle: SettleTurn) -> LocalBoxFuture<'static, ()> {
        if settle.event.is_none() && settle.replies.is_empty() {
            return Box::pin(ready(()));
        }
        let written = hand_over(&self.ports.ledger.settle_turn, settle, Some(&self.incarnation));
        Box::pin(async move {
            if let Err(error) = written.await {
                error!(%turn, %error, "end of the turn not recorded in the ledger");
            }
        })
    }
}

/// The `messages` of people, in order, and the agent's reply to them.
fn conversation(session: SessionKey, messages: Vec<String>, reply: String, keep: usize) -> AppendHistory {
    let entry = |role: &'static str, content: String| HistoryEntry { role: role.into(), content };
    let messages = messages.into_iter().map(|text| entry("user", text));
    AppendHistory { session, entries: messages.chain([entry("assistant", reply)]).collect(), keep }
}
