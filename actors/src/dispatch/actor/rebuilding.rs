//! Rebuilds the queues after a start: from the ledger, a page at a time, and from the gate's list of turns.
//!
//! Running and interrupted turns are read first, because they are few. Then the dispatcher is ready, and events may arrive while the
//! rest is read: they wait until all earlier ones are queued.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tracing::{error, info, warn};

use super::super::event::DispatchJob;
use super::super::notice::Notice;
use super::super::ports::{GATE_TIMEOUT, MAX_ATTEMPTS};
use super::super::recovery::{MAX_RESTARTS, PAGE, RunningAtStart, read_running};
use super::{DispatchActor, GateState};
use crate::drain::permit::messages::{ListTurns, RunningTurn};
use crate::hand_over::{LEDGER_TIMEOUT, hand_over};
use crate::settings::Interrupted;
use crate::time::now_ms;
use caduceus_contract::messages::drain::{DrainView, Origin};
use caduceus_contract::messages::ledger::{
    InboundId, InboundState, LastInterrupted, ListWaiting, ReadInbound, WaitingRow, WithdrawTurns,
};
use caduceus_contract::turn_id::TurnId;

/// Pause before a request that the ledger did not answer is repeated.
const PAUSE: Duration = Duration::from_millis(500);
/// How often adopted turns are checked; far longer than the time from a permit to the start of its turn.
const ADOPTED_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The progress of the rebuild.
struct Rebuild {
    /// Running turns of an earlier incarnation.
    turns: HashMap<TurnId, RunningTurn>,
    /// Events that were steered into them.
    steered: Vec<InboundId>,
    /// The last row that was read.
    after: Option<InboundId>,
    /// Events that wait.
    waiting: usize,
    /// Turns that a crash interrupted.
    interrupted: usize,
}

impl DispatchActor {
    /// Rebuilds the queues. Until that is done no event is processed as a new one.
    pub(super) fn rebuild(&mut self, ctx: &mut Context<Self>) {
        let found =
            read_running(Arc::clone(&self.ports), self.settings.interrupted(), self.settings.process_started_ms);
        ctx.spawn(found.into_actor(self).map(|found, actor, ctx| match found {
            Ok(state) => {
                let rebuild = actor.restore_running(state, ctx);
                actor.incarnation.ready();
                actor.request_link_states(actor.ports.links.keys());
                actor.read_page(rebuild, ctx);
            }
            Err(error) => {
                warn!(%error, "running turns not read yet");
                ctx.run_later(PAUSE, Self::rebuild);
            }
        }));
    }

    /// Applies the answer of the gate, unless the gate has reported a newer state meanwhile.
    fn apply_gate_state(&mut self, gate: DrainView) {
        if !self.gate.reported {
            self.gate = GateState { draining: gate.draining, stopping: gate.stopping, reported: false };
            // Nothing starts yet.
            drop(self.plan.gate(gate.draining, gate.profiles));
        }
    }

    fn restore_running(&mut self, state: RunningAtStart, ctx: &mut Context<Self>) -> Rebuild {
        let RunningAtStart { rows, turns, gate, restarts } = state;
        self.apply_gate_state(gate);
        if restarts > MAX_RESTARTS {
            error!(restarts, "too many starts with interrupted turns; they are not run again automatically");
            self.settings.in_crash_loop = true;
        }
        let turns = turns.into_iter().map(|running| (running.ticket.id, running));
        let turns = turns.filter(|(turn, _)| !self.exited_early(*turn)).collect();
        let mut rebuild = Rebuild { turns, steered: Vec::new(), after: None, waiting: 0, interrupted: 0 };
        for row in rows {
            let (id, turn, received) = (row.id, row.turn, row.received_at_ms);
            let Some((id, job)) = DispatchJob::from_row(row) else {
                error!(row = id.0, "unreadable event in the ledger, given up");
                self.mark(id, InboundState::Dead, None, Some("unreadable".to_owned()));
                continue;
            };
            if let Some(running) = turn.and_then(|turn| rebuild.turns.get(&turn)) {
                let turn = running.ticket.id;
                self.plan.adopted(turn, id, &job.session, &job.target.link);
                self.started_turns.adopt(turn, running.stop.clone());
                self.adopted.push(turn);
                self.jobs.insert(id, job);
            } else if let Some(turn) = turn.filter(|turn| self.ports.permits.never_started(*turn)) {
                rebuild.waiting += 1;
                self.start_anew(turn, id, &job, received, ctx);
            } else {
                rebuild.interrupted += 1;
                self.handle_interrupted(id, &job, received, ctx);
            }
        }
        rebuild
    }

    /// Reads the next page. Other actors on this thread run between two pages.
    fn read_page(&mut self, rebuild: Rebuild, ctx: &mut Context<Self>) {
        let states = vec![InboundState::Received, InboundState::Held];
        let request = ListWaiting { states, after: rebuild.after, limit: PAGE };
        let page = self.ports.ledger.list_waiting.ask(request, LEDGER_TIMEOUT);
        ctx.spawn(page.into_actor(self).map(move |page, actor, ctx| match page {
            Ok(Ok(page)) => actor.restore_page(page, rebuild, ctx),
            Ok(Err(error)) => Self::read_page_later(&error.to_string(), rebuild, ctx),
            Err(error) => Self::read_page_later(&error.to_string(), rebuild, ctx),
        }));
    }

    fn read_page_later(error: &str, rebuild: Rebuild, ctx: &mut Context<Self>) {
        warn!(error, "waiting events not read yet");
        ctx.run_later(PAUSE, |actor, ctx| actor.read_page(rebuild, ctx));
    }

    fn restore_page(&mut self, page: Vec<WaitingRow>, mut rebuild: Rebuild, ctx: &mut Context<Self>) {
        let is_last = page.len() < PAGE;
        rebuild.after = page.last().map(|row| row.id).or(rebuild.after);
        for row in page {
            let WaitingRow { id, link, session, turn, received_at_ms } = row;
            let running = turn.filter(|turn| rebuild.turns.contains_key(turn));
            if running.is_some_and(|turn| self.plan.steered(turn, id)) {
                rebuild.steered.push(id);
                continue;
            }
            rebuild.waiting += 1;
            if self.ports.links.contains_key(&link) {
                // Nothing starts yet, so nothing follows.
                drop(self.plan.restored(id, &session, &link, Origin::External));
            } else {
                self.unlinked.push(link, received_at_ms, id);
            }
        }
        if is_last { self.fetch_steered(rebuild, ctx) } else { self.read_page(rebuild, ctx) }
    }

    /// Events that were steered into running turns become part of the conversation when these end.
    fn fetch_steered(&mut self, mut rebuild: Rebuild, ctx: &mut Context<Self>) {
        let Some(id) = rebuild.steered.pop() else { return self.finish(&rebuild, ctx) };
        let read = self.ports.ledger.read_inbound.ask(ReadInbound { id }, LEDGER_TIMEOUT);
        ctx.spawn(read.into_actor(self).map(move |read, actor, ctx| {
            let row = read.map_err(|error| error.to_string()).and_then(|row| row.map_err(|error| error.to_string()));
            match row.map(DispatchJob::from_row) {
                Ok(job) => actor.jobs.extend(job),
                Err(error) => warn!(row = id.0, error, "event steered into a running turn not read"),
            }
            actor.fetch_steered(rebuild, ctx);
        }));
    }

    fn finish(&mut self, rebuild: &Rebuild, ctx: &mut Context<Self>) {
        let Rebuild { waiting, interrupted, .. } = *rebuild;
        if waiting + interrupted > 0 {
            info!(waiting, interrupted, "events of a previous run queued again");
        }
        for (link, events) in self.unlinked.counts() {
            error!(
                link = %link.0,
                events,
                "events wait for a link that is no longer configured: they run after a start with that link, and are given up after 24 hours"
            );
        }
        self.open(ctx);
        if !self.adopted.is_empty() {
            ctx.run_later(ADOPTED_CHECK_INTERVAL, Self::check_adopted);
        }
        self.report_refusals(ctx);
    }

    /// Finds adopted turns that will report nothing: those with a permit that were never started, and those whose end was lost
    /// with the earlier incarnation.
    fn check_adopted(&mut self, ctx: &mut Context<Self>) {
        self.adopted.retain(|turn| self.plan.event_of(*turn).is_some());
        if self.adopted.is_empty() {
            return;
        }
        let turns = self.ports.gate.turns.ask(ListTurns, GATE_TIMEOUT);
        ctx.spawn(turns.into_actor(self).map(|turns, actor, ctx| {
            if let Ok(turns) = turns {
                actor.drop_lost_turns(turns, ctx);
            }
            ctx.run_later(ADOPTED_CHECK_INTERVAL, Self::check_adopted);
        }));
    }

    fn drop_lost_turns(&mut self, turns: Vec<RunningTurn>, ctx: &mut Context<Self>) {
        let turns: HashMap<TurnId, RunningTurn> =
            turns.into_iter().map(|running| (running.ticket.id, running)).collect();
        for turn in std::mem::take(&mut self.adopted) {
            let Some(event) = self.plan.event_of(turn) else { continue };
            match turns.get(&turn) {
                Some(RunningTurn { stop: Some(stop), .. }) => {
                    self.started_turns.adopt(turn, Some(stop.clone()));
                    self.adopted.push(turn);
                }
                Some(RunningTurn { stop: None, .. }) => {
                    // If its child starts after this, it ends at once.
                    if !self.ports.permits.forget(turn) {
                        self.adopted.push(turn);
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
        let job = self.jobs.remove(&event);
        self.started_turns.remove(turn);
        for steered in self.plan.take_steered(turn) {
            if let Some(job) = self.jobs.remove(&steered) {
                self.run_again(steered, &job, now_ms(), ctx);
            }
        }
        // The next event starts once this one has its place again.
        self.plan.drop_turn(turn);
        job
    }

    /// Queues the event of a turn that never started, because the dispatcher failed between its permit and its start.
    fn start_anew(
        &mut self,
        turn: TurnId,
        event: InboundId,
        job: &DispatchJob,
        received_at_ms: i64,
        ctx: &mut Context<Self>,
    ) {
        info!(%turn, "turn was not started; its event waits again");
        let withdraw = WithdrawTurns { turns: vec![turn] };
        let withdrawn = hand_over(&self.ports.ledger.withdraw_turns, withdraw, Some(&self.incarnation));
        self.tasks.spawn(withdrawn, move |withdrawn, _, _| {
            if let Err(error) = withdrawn {
                error!(row = event.0, %error, "event state not updated in the ledger");
            }
        });
        let link = &job.target.link;
        if self.ports.links.contains_key(link) {
            let steps = self.plan.returned(event, &job.session, link);
            self.carry_out(steps, ctx);
        } else {
            self.unlinked.push(link.clone(), received_at_ms, event);
        }
    }

    /// Handles a turn that a crash interrupted, by `turns.interrupted`.
    fn handle_interrupted(&mut self, id: InboundId, job: &DispatchJob, received_at_ms: i64, ctx: &mut Context<Self>) {
        let mark = |state, note: &str| (state, Some(note.to_owned()));
        let (state, note) = match self.settings.interrupted() {
            Interrupted::Rerun if job.attempts < MAX_ATTEMPTS => {
                let job = DispatchJob { origin: Origin::Internal, ..job.clone() };
                return self.run_again(id, &job, received_at_ms, ctx);
            }
            Interrupted::Rerun => {
                self.notify(&job.target, &Notice::GivenUp);
                mark(InboundState::Dead, Notice::GivenUp.reason())
            }
            Interrupted::Ask => {
                self.notify(&job.target, &Notice::Interrupted);
                mark(InboundState::Interrupted, "restart")
            }
            Interrupted::Drop => mark(InboundState::Interrupted, "restart, dropped"),
        };
        self.mark(id, state, None, note);
    }

    /// Queues an event again; its content is in the ledger.
    fn run_again(&mut self, id: InboundId, job: &DispatchJob, received_at_ms: i64, ctx: &mut Context<Self>) {
        let link = &job.target.link;
        if self.ports.links.contains_key(link) {
            let steps = self.plan.restored(id, &job.session, link, job.origin);
            self.carry_out(steps, ctx);
        } else {
            self.unlinked.push(link.clone(), received_at_ms, id);
        }
    }

    /// Runs the last interrupted event of a session again.
    pub(super) fn retry(&mut self, command: DispatchJob, ctx: &mut Context<Self>) {
        let request = LastInterrupted { session: command.session.clone() };
        let found = self.ports.ledger.last_interrupted.ask(request, LEDGER_TIMEOUT);
        ctx.spawn(found.into_actor(self).map(move |found, actor, ctx| match found {
            Ok(Ok(row)) => match row.and_then(DispatchJob::from_row) {
                Some((id, job)) => {
                    // The command is marked as done in the ledger, so the event must not be lost after this.
                    actor.mark(id, InboundState::Received, None, Some("retried".to_owned()));
                    actor.run_again(id, &job, now_ms(), ctx);
                }
                None => actor.notify(&command.target, &Notice::NothingToRetry),
            },
            Ok(Err(error)) => actor.cannot_retry(&command, &error.to_string()),
            Err(error) => actor.cannot_retry(&command, &error.to_string()),
        }));
    }

    fn cannot_retry(&mut self, command: &DispatchJob, error: &str) {
        warn!(error, "event to run again not read from the ledger");
        self.notify(&command.target, &Notice::TurnFailed);
    }
}
