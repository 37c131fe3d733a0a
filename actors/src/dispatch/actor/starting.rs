//! Starts the turn of an event that has a slot, or refuses the event.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, Handler, Message};
use tracing::{error, warn};

use super::super::event::DispatchJob;
use super::super::notice::Notice;
use super::super::start::{NotStarted, PermitOutcomes, StartOutcomes, StartingTurn, request_permits, take_permits};
use super::super::started::StartedTurn;
use super::super::turns::Launch;
use super::DispatchActor;
use crate::config::messages::Served;
use crate::hand_over::LEDGER_TIMEOUT;
use crate::settings::WhenRefused;
use caduceus_contract::messages::drain::Refusal;
use caduceus_contract::messages::ledger::{InboundId, InboundRow, InboundState, LedgerError, ReadInbound};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::turn_id::TurnId;
use caduceus_supervision::AskError;

/// Pause before a request that the gate or the ledger did not answer is repeated.
const PAUSE: Duration = Duration::from_millis(200);

/// The ledger has answered with the event of a turn that is to start.
#[derive(Message)]
#[rtype(result = "()")]
struct EventRead {
    turn: TurnId,
    event: InboundId,
    profile: Served,
    row: Result<Result<InboundRow, LedgerError>, AskError>,
}

/// The gate has answered for turns that need a permit.
#[derive(Message)]
#[rtype(result = "()")]
struct PermitsAnswered(PermitOutcomes);

/// Turns have started, or not.
#[derive(Message)]
#[rtype(result = "()")]
struct StartsAnswered(StartOutcomes);

/// The pause after a start without an answer is over.
#[derive(Message)]
#[rtype(result = "()")]
struct RequeueDue(TurnId);

/// The ledger has answered with an event that is refused.
#[derive(Message)]
#[rtype(result = "()")]
struct RefusedRead {
    event: InboundId,
    notice: Notice,
    row: Option<InboundRow>,
}

impl DispatchActor {
    /// Starts the turn of an event that has a slot. An event that waited is read from the ledger first.
    pub(super) fn start(&mut self, turn: TurnId, event: InboundId, ctx: &mut Context<Self>) {
        let Some(session) = self.plan.session_of(turn) else { return };
        let Some(profile) = self.settings.profiles.get(session.profile()).cloned() else {
            // It was served when the event was accepted; an event never runs under another profile instead.
            warn!(%turn, profile = %session.profile(), "event refused: its profile is no longer served");
            self.refuse(event, &Notice::UnservedProfile);
            return self.plan.drop_turn(turn);
        };
        if self.turns.job(event).is_some() {
            return self.launch(turn, event, profile, ctx);
        }
        let row = self.ports.ledger.read_inbound.ask(ReadInbound { id: event }, LEDGER_TIMEOUT);
        self.tasks.notify(async move { EventRead { row: row.await, turn, event, profile } });
    }

    /// The turn starts with the others that come together.
    fn launch(&mut self, turn: TurnId, event: InboundId, profile: Served, ctx: &mut Context<Self>) {
        let (origin, links) = (self.plan.origin_of(turn), &self.links);
        match self.turns.launch(turn, event, profile, origin, |target| links.descriptor(target)) {
            Launch::Queued => self.tasks.poll_again(),
            Launch::NoLink => {
                // It went down in the same moment.
                let steps = self.plan.no_link(turn);
                self.carry_out(steps, ctx);
            }
            Launch::NoJob => {}
        }
    }

    /// Starts the turns that have come together.
    pub(super) fn start_together(&mut self, ctx: &mut Context<Self>) {
        if let Some(started) = self.turns.start_begun(&self.ports) {
            self.tasks.notify(async move { StartsAnswered(started.await) });
        }
        let turns = self.turns.take_to_start();
        if !turns.is_empty() {
            let outcomes = take_permits(&self.ports.permits, turns);
            self.settle_permits(outcomes, ctx);
        }
    }

    fn settle_permits(&mut self, outcomes: PermitOutcomes, ctx: &mut Context<Self>) {
        let PermitOutcomes { permitted, refused, unread } = outcomes;
        if !permitted.is_empty() {
            let started = self.turns.start_permitted(&self.ports, permitted);
            self.tasks.notify(async move { StartsAnswered(started.await) });
        }
        // Those of a profile whose disk does not answer delay no other.
        let mut by_profile: BTreeMap<ProfileName, Vec<StartingTurn>> = BTreeMap::new();
        for starting in unread {
            by_profile.entry(starting.job.profile.clone()).or_default().push(starting);
        }
        for turns in by_profile.into_values() {
            let answered = request_permits(Arc::clone(&self.ports), turns);
            self.tasks.notify(async move { PermitsAnswered(answered.await) });
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
            self.turns.started(turn, started);
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
                self.turns.take_job(event);
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
        ctx.notify_later(RequeueDue(turn), PAUSE);
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
    pub(super) fn refuse(&mut self, event: InboundId, notice: &Notice) {
        self.count_refused(event, notice);
        if let Some(job) = self.turns.take_job(event) {
            return self.refuse_job(event, Some(&job), notice);
        }
        let (notice, row) =
            (notice.clone(), self.ports.ledger.read_inbound.ask(ReadInbound { id: event }, LEDGER_TIMEOUT));
        self.tasks.notify(async move { RefusedRead { row: row.await.ok().and_then(Result::ok), event, notice } });
    }

    fn refuse_job(&mut self, event: InboundId, job: Option<&DispatchJob>, notice: &Notice) {
        if let Some(job) = job {
            self.notify(&job.target, notice);
        }
        self.mark(event, InboundState::Refused, None, Some(notice.reason().to_owned()));
        // The drain may have ended before this row was written, and so without a report of it.
        if *notice == Notice::Maintenance && job.is_some_and(|job| self.plan.is_open(&job.profile)) {
            self.report_refusals();
        }
    }
}

impl Handler<EventRead> for DispatchActor {
    type Result = ();

    fn handle(&mut self, EventRead { turn, event, profile, row }: EventRead, ctx: &mut Self::Context) {
        let reason = match row {
            Ok(Ok(row)) => match DispatchJob::from_row(row) {
                Some((_, job)) => {
                    self.turns.hold_job(event, job);
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
}

impl Handler<PermitsAnswered> for DispatchActor {
    type Result = ();

    fn handle(&mut self, PermitsAnswered(outcomes): PermitsAnswered, ctx: &mut Self::Context) {
        self.settle_permits(outcomes, ctx);
    }
}

impl Handler<StartsAnswered> for DispatchActor {
    type Result = ();

    fn handle(&mut self, StartsAnswered(outcomes): StartsAnswered, ctx: &mut Self::Context) {
        self.settle_starts(outcomes, ctx);
    }
}

impl Handler<RequeueDue> for DispatchActor {
    type Result = ();

    fn handle(&mut self, RequeueDue(turn): RequeueDue, ctx: &mut Self::Context) {
        self.requeue_or_refuse(turn, Refusal::Superseded, true, ctx);
    }
}

impl Handler<RefusedRead> for DispatchActor {
    type Result = ();

    fn handle(&mut self, RefusedRead { event, notice, row }: RefusedRead, _: &mut Self::Context) {
        if row.is_none() {
            warn!(row = event.0, "event refused, and its chat not notified: not read from the ledger");
        }
        let job = row.and_then(DispatchJob::from_row);
        self.refuse_job(event, job.as_ref().map(|(_, job)| job), &notice);
    }
}
