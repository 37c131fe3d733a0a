//! The end of a turn: updates the queues, the ledger and the conversation, and starts the next turn.

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use futures_util::future::{LocalBoxFuture, ready};
use tracing::warn;

use super::super::event::DispatchJob;
use super::super::notice::Notice;
use super::super::ports::LEDGER_TIMEOUT;
use super::DispatchActor;
use crate::time::now_ms;
use caduceus_contract::messages::ledger::{AppendHistory, HistoryEntry, InboundState, MarkInbound};
use caduceus_contract::messages::turn::{StopCause, TurnEnded, TurnOutcome};
use caduceus_contract::time::millis;
use caduceus_contract::turn_id::TurnId;

impl DispatchActor {
    /// A turn that exited without reporting how it ended.
    pub(super) fn crashed(&mut self, turn: TurnId, ctx: &mut Context<Self>) {
        if let Some(job) = self.plan.event_of(turn).and_then(|event| self.jobs.get(&event)) {
            let target = job.target.clone();
            self.notify(&target, &Notice::TurnFailed, ctx);
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
            && let Some(job) = self.plan.event_of(turn).and_then(|event| self.jobs.get(&event))
        {
            let target = job.target.clone();
            self.notify(&target, &notice, ctx);
        }
        self.end_unreported(turn, TurnOutcome::Stopped(cause), ctx);
    }

    fn end_unreported(&mut self, turn: TurnId, outcome: TurnOutcome, ctx: &mut Context<Self>) {
        let written = self.end_turn(TurnEnded { id: turn, outcome, reply: String::new(), keep: 0 }, ctx);
        ctx.spawn(written.into_actor(self));
    }

    /// Removes a turn; resolves when the ledger has its new state.
    pub(super) fn end_turn(&mut self, ended: TurnEnded, ctx: &mut Context<Self>) -> LocalBoxFuture<'static, ()> {
        let TurnEnded { id: turn, outcome, reply, keep } = ended;
        let started = self.started_turns.remove(turn);
        let Some(event) = self.plan.event_of(turn) else { return Box::pin(ready(())) };
        let steered = self.plan.take_steered(turn);
        if outcome == TurnOutcome::Stopped(StopCause::Shutdown) {
            // It stays `running` in the ledger: the next start treats it as interrupted by `turns.interrupted`. Events that
            // were steered into it stay `received`, and run then.
            self.ports.counts.stopped();
            self.jobs.remove(&event);
            for event in steered {
                self.jobs.remove(&event);
            }
            self.plan.drop_turn(turn);
            return Box::pin(ready(()));
        }
        let (state, note) = match &outcome {
            TurnOutcome::Done => (InboundState::Done, None),
            TurnOutcome::Failed { notice, .. } => (InboundState::Failed, Some(notice.clone())),
            TurnOutcome::Stopped(cause) => (InboundState::Interrupted, Some(format!("stopped: {cause:?}"))),
        };
        match &outcome {
            TurnOutcome::Done => self.ports.counts.done(),
            TurnOutcome::Failed { .. } => self.ports.counts.failed(),
            TurnOutcome::Stopped(_) => self.ports.counts.stopped(),
        }
        let mut messages = Vec::new();
        for event in steered {
            messages.extend(self.jobs.remove(&event).map(|job| job.event.text.clone()));
            // After a stop, `/retry` runs the turn's own event again.
            let state = if state == InboundState::Failed { state } else { InboundState::Done };
            self.mark(event, state, Some(turn), Some("steered".to_owned()), ctx);
        }
        let written = self.marked(MarkInbound { id: event, state, turn: Some(turn), note });
        if let Some(job) = self.jobs.remove(&event)
            && state == InboundState::Done
            && !reply.is_empty()
        {
            messages.insert(0, job.event.text.clone());
            self.append_history(&job, messages, reply, keep, ctx);
        }
        if let Some(started) = started {
            let length = millis(started.since.elapsed());
            self.ports.counts.took(now_ms(), length);
        }
        let steps = self.plan.ended(turn);
        self.carry_out(steps, ctx);
        Box::pin(written)
    }

    /// Appends the `messages` of people, in order, and the agent's reply to the conversation.
    fn append_history(
        &self,
        job: &DispatchJob,
        messages: Vec<String>,
        reply: String,
        keep: usize,
        ctx: &mut Context<Self>,
    ) {
        let entry = |role: &str, content: String| HistoryEntry { role: role.to_owned(), content };
        let messages = messages.into_iter().map(|text| entry("user", text));
        let entries = messages.chain([entry("assistant", reply)]).collect();
        let append = AppendHistory { session: job.session.clone(), entries, keep };
        let appended = self.ports.ledger.append_history.ask(append, LEDGER_TIMEOUT);
        ctx.spawn(appended.into_actor(self).map(|appended, _, _| match appended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "conversation not written to the ledger"),
            Err(error) => warn!(%error, "conversation not written to the ledger"),
        }));
    }
}
