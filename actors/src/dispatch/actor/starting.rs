//! Starts the turn of an event that has a slot, steers it into a running turn, or refuses it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context};
use tracing::{error, info, warn};

use super::super::event::DispatchJob;
use super::super::notice::Notice;
use super::super::ports::GATE_TIMEOUT;
use super::super::start::{
    NotStarted, PermitOutcomes, StartOutcomes, StartingTurn, request_permits, start_children, start_turns, take_permits,
};
use super::super::started::StartedTurn;
use super::DispatchActor;
use crate::config::messages::Served;
use crate::hand_over::LEDGER_TIMEOUT;
use crate::settings::WhenRefused;
use caduceus_contract::messages::drain::Refusal;
use caduceus_contract::messages::ledger::{InboundId, InboundRow, InboundState, LedgerError, ReadInbound};
use caduceus_contract::messages::turn::SteerTurn;
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::turn_id::TurnId;
use caduceus_supervision::AskError;

/// Pause before a request that the gate or the ledger did not answer is repeated.
const PAUSE: Duration = Duration::from_millis(200);

impl DispatchActor {
    /// Starts the turn of an event that has a slot. An event that waited is read from the ledger first.
    pub(super) fn start(&mut self, turn: TurnId, event: InboundId, ctx: &mut Context<Self>) {
        let Some(session) = self.plan.session_of(turn) else { return };
        let Some(profile) = self.settings.profiles.get(session.profile()).cloned() else {
            // It was served when the event was accepted; an event never runs under another profile instead.
            warn!(%turn, profile = %session.profile(), "event refused: its profile is no longer served");
            self.refuse(event, &Notice::UnservedProfile, ctx);
            return self.plan.drop_turn(turn);
        };
        if self.jobs.contains_key(&event) {
            return self.launch(turn, event, profile, ctx);
        }
        let read = self.ports.ledger.read_inbound.ask(ReadInbound { id: event }, LEDGER_TIMEOUT);
        self.tasks.spawn(read, move |read, actor, ctx| actor.launch_from_row(turn, event, profile, read, ctx));
    }

    /// Continues [`DispatchActor::start`] with the row of the event.
    fn launch_from_row(
        &mut self,
        turn: TurnId,
        event: InboundId,
        profile: Served,
        read: Result<Result<InboundRow, LedgerError>, AskError>,
        ctx: &mut Context<Self>,
    ) {
        let reason = match read {
            Ok(Ok(row)) => match DispatchJob::from_row(row) {
                Some((_, job)) => {
                    self.jobs.insert(event, job);
                    return self.launch(turn, event, profile, ctx);
                }
                None => "unreadable".to_owned(),
            },
            Ok(Err(error @ (LedgerError::Corrupt { .. } | LedgerError::Missing { .. }))) => error.to_string(),
            Ok(Err(error)) => return Self::retry_later(turn, &format!("the ledger: {error}"), ctx),
            Err(error) => return Self::retry_later(turn, &format!("the ledger: {error}"), ctx),
        };
        error!(row = event.0, reason, "unreadable event in the ledger, given up");
        self.mark(event, InboundState::Dead, None, Some("unreadable".to_owned()));
        let steps = self.plan.ended(turn);
        self.carry_out(steps, ctx);
    }

    /// The turn starts with the others that come together.
    fn launch(&mut self, turn: TurnId, event: InboundId, profile: Served, ctx: &mut Context<Self>) {
        let Some(job) = self.jobs.get_mut(&event) else { return };
        job.origin = self.plan.origin_of(turn).unwrap_or(job.origin);
        if job.descriptor.is_none() {
            job.descriptor = self.links.descriptor(&job.target);
        }
        if job.descriptor.is_none() {
            // The link went down in the same moment.
            self.jobs.remove(&event);
            let steps = self.plan.no_link(turn);
            return self.carry_out(steps, ctx);
        }
        self.to_start.push(StartingTurn { turn, event, job: job.clone(), profile });
        self.tasks.poll_again();
    }

    /// Starts the turns that have come together.
    pub(super) fn start_together(&mut self, ctx: &mut Context<Self>) {
        let begun = std::mem::take(&mut self.begun);
        if !begun.is_empty() {
            let started = start_children(&self.ports, &self.turn_factory, begun);
            self.tasks.spawn(started, |outcomes, actor, ctx| actor.settle_starts(outcomes, ctx));
        }
        let turns = std::mem::take(&mut self.to_start);
        if !turns.is_empty() {
            let outcomes = take_permits(&self.ports.permits, turns);
            self.settle_permits(outcomes, ctx);
        }
    }

    fn settle_permits(&mut self, outcomes: PermitOutcomes, ctx: &mut Context<Self>) {
        let PermitOutcomes { permitted, refused, unread } = outcomes;
        if !permitted.is_empty() {
            let started = start_turns(Arc::clone(&self.ports), Arc::clone(&self.turn_factory), permitted);
            self.tasks.spawn(started, |outcomes, actor, ctx| actor.settle_starts(outcomes, ctx));
        }
        // Those of a profile whose disk does not answer delay no other.
        let mut by_profile: BTreeMap<ProfileName, Vec<StartingTurn>> = BTreeMap::new();
        for starting in unread {
            by_profile.entry(starting.job.profile.clone()).or_default().push(starting);
        }
        for turns in by_profile.into_values() {
            let answered = request_permits(Arc::clone(&self.ports), turns);
            self.tasks.spawn(answered, |outcomes, actor, ctx| actor.settle_permits(outcomes, ctx));
        }
        self.settle_starts(refused, ctx);
    }

    fn settle_starts(&mut self, outcomes: StartOutcomes, ctx: &mut Context<Self>) {
        for (turn, event, outcome) in outcomes {
            match outcome {
                Ok(started) => self.started(turn, started),
                Err(reason) => self.not_started(turn, event, reason, ctx),
            }
        }
    }

    fn started(&mut self, turn: TurnId, started: StartedTurn) {
        // The turn may have ended already.
        if self.plan.event_of(turn).is_some() {
            self.started_turns.insert(turn, started);
            if let Some(cause) = self.plan.take_pending_stop(turn) {
                self.stop_turn(turn, cause);
            }
        }
        self.ports.status.report();
    }

    fn not_started(&mut self, turn: TurnId, event: InboundId, reason: NotStarted, ctx: &mut Context<Self>) {
        match reason {
            NotStarted::Refused(refusal) => {
                let hold = self.settings.values().drain.refused == WhenRefused::Hold;
                self.requeue_or_refuse(turn, refusal, hold, ctx);
            }
            NotStarted::NoAnswer(error) => Self::retry_later(turn, &error, ctx),
            NotStarted::EventEnded => {
                self.jobs.remove(&event);
                let steps = self.plan.ended(turn);
                self.carry_out(steps, ctx);
            }
            NotStarted::Failed(error) => {
                error!(%turn, %error, "turn not started");
                self.crashed(turn, ctx);
            }
        }
    }

    fn retry_later(turn: TurnId, error: &str, ctx: &mut Context<Self>) {
        warn!(%turn, %error, "turn not started yet");
        ctx.run_later(PAUSE, move |actor, ctx| actor.requeue_or_refuse(turn, Refusal::Superseded, true, ctx));
    }

    /// The event of a turn that was not started waits or is refused; if the turn is to stop, no other turn runs the event.
    fn requeue_or_refuse(&mut self, turn: TurnId, refusal: Refusal, hold: bool, ctx: &mut Context<Self>) {
        if let Some(cause) = self.plan.take_pending_stop(turn) {
            return self.stopped_early(turn, cause, ctx);
        }
        let Some(event) = self.plan.event_of(turn) else { return };
        let steps = self.plan.refused(turn, refusal, hold);
        self.carry_out_for(event, steps, ctx);
    }

    /// Refuses an event and sends the reason to its chat.
    pub(super) fn refuse(&mut self, event: InboundId, notice: &Notice, ctx: &mut Context<Self>) {
        self.ports.counts.refused();
        info!(row = event.0, reason = notice.reason(), "event refused");
        if let Some(job) = self.jobs.remove(&event) {
            return self.refuse_job(event, Some(&job), notice, ctx);
        }
        let (notice, read) =
            (notice.clone(), self.ports.ledger.read_inbound.ask(ReadInbound { id: event }, LEDGER_TIMEOUT));
        self.tasks.spawn(read, move |read, actor, ctx| {
            let row = read.ok().and_then(Result::ok);
            if row.is_none() {
                warn!(row = event.0, "event refused, and its chat not notified: not read from the ledger");
            }
            let job = row.and_then(DispatchJob::from_row);
            actor.refuse_job(event, job.as_ref().map(|(_, job)| job), &notice, ctx);
        });
    }

    fn refuse_job(&mut self, event: InboundId, job: Option<&DispatchJob>, notice: &Notice, ctx: &mut Context<Self>) {
        if let Some(job) = job {
            self.notify(&job.target, notice);
        }
        self.mark(event, InboundState::Refused, None, Some(notice.reason().to_owned()));
        // The drain may have ended before this row was written, and so without a report of it.
        if *notice == Notice::Maintenance && job.is_some_and(|job| self.plan.is_open(&job.profile)) {
            self.report_refusals(ctx);
        }
    }

    pub(super) fn steer(&mut self, turn: TurnId, event: InboundId, during_drain: bool) {
        let Some(job) = self.jobs.get(&event) else { return };
        let (key, link) = (job.session.clone(), job.target.link.clone());
        let request = SteerTurn { raw_event: job.raw_event.clone() };
        let steer = self.started_turns.steer(turn);
        // Sent now and not when the future is polled, so that the agent receives events in order.
        let answer = steer.map(|steer| steer.ask(request, GATE_TIMEOUT));
        let steered = async move { Some(answer?.await) };
        self.tasks.spawn(steered, move |steered, actor, ctx| {
            if let Some(Ok(Ok(()))) = steered {
                // It is done only when its turn is: if the process is killed meanwhile, the event runs as a separate turn.
                let state = if actor.plan.steered(turn, event) {
                    InboundState::Received
                } else {
                    actor.jobs.remove(&event);
                    InboundState::Done
                };
                actor.mark(event, state, Some(turn), Some("steered".to_owned()));
            } else {
                let hold = actor.settings.values().drain.refused == WhenRefused::Hold;
                let steps = actor.plan.not_steered(event, &key, &link, during_drain, hold);
                actor.carry_out_for(event, steps, ctx);
            }
        });
    }
}
