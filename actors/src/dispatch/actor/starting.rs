//! The way of an event from its place to its turn, or off the books.

use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tracing::{error, info, warn};

use super::super::event::Job;
use super::super::notice::Notice;
use super::super::ports::{GATE_TIMEOUT, LEDGER_TIMEOUT};
use super::super::start::{NotStarted, start_turn};
use super::DispatchActor;
use crate::drain::messages::Refusal;
use crate::ledger::messages::{InboundId, InboundRow, InboundState, LedgerError, ReadInbound};
use crate::profile::messages::ProfileWays;
use crate::settings::WhenRefused;
use crate::turn::id::TurnId;
use crate::turn::messages::SteerTurn;
use caduceus_supervision::AskError;

/// Pause before the gate or the ledger is asked again after it did not answer.
const PAUSE: Duration = Duration::from_millis(200);

impl DispatchActor {
    /// An event has its place: it is fetched from the ledger, if it waited there, and its turn is started.
    pub(super) fn start(&mut self, turn: TurnId, event: InboundId, ctx: &mut Context<Self>) {
        let Some(session) = self.plan.session_of(turn) else { return };
        let Some(ways) = self.settings.ways.get(session.profile()).cloned() else {
            // It was served when the event was taken; nothing ever runs under another instead.
            warn!(%turn, profile = %session.profile(), "the profile of an event is served no more; it is refused");
            self.turn_away(event, &Notice::UnservedProfile, ctx);
            return self.plan.drop_turn(turn);
        };
        if self.jobs.contains_key(&event) {
            return self.launch(turn, event, ways, ctx);
        }
        let read = self.ports.read_inbound.ask(ReadInbound { id: event }, LEDGER_TIMEOUT);
        ctx.spawn(read.into_actor(self).map(move |read, actor, ctx| actor.was_read(turn, event, ways, read, ctx)));
    }

    fn was_read(
        &mut self,
        turn: TurnId,
        event: InboundId,
        ways: ProfileWays,
        read: Result<Result<InboundRow, LedgerError>, AskError>,
        ctx: &mut Context<Self>,
    ) {
        let unread = match read {
            Ok(Ok(row)) => match Job::from_row(row) {
                Some((_, job)) => {
                    self.jobs.insert(event, job);
                    return self.launch(turn, event, ways, ctx);
                }
                None => "unreadable".to_owned(),
            },
            Ok(Err(error @ (LedgerError::Damaged { .. } | LedgerError::Missing { .. }))) => error.to_string(),
            Ok(Err(error)) => return Self::ask_again(turn, &format!("the ledger: {error}"), ctx),
            Err(error) => return Self::ask_again(turn, &format!("the ledger: {error}"), ctx),
        };
        error!(row = event.0, reason = unread, "an event in the ledger no longer reads; it is given up");
        self.mark(event, InboundState::Dead, None, Some("unreadable".to_owned()), ctx);
        let steps = self.plan.ended(turn);
        self.carry_out(steps, ctx);
    }

    /// Asks the gate, and starts the turn if it is let through.
    fn launch(&mut self, turn: TurnId, event: InboundId, ways: ProfileWays, ctx: &mut Context<Self>) {
        let Some(job) = self.jobs.get_mut(&event) else { return };
        job.origin = self.plan.origin_of(turn).unwrap_or(job.origin);
        if job.descriptor.is_none() {
            job.descriptor = self.links.descriptor(&job.target);
        }
        if job.descriptor.is_none() {
            // It went down in this very moment.
            self.jobs.remove(&event);
            let steps = self.plan.no_link(turn);
            return self.carry_out(steps, ctx);
        }
        let started = start_turn(self.ports.clone(), Arc::clone(&self.maker), ways, job.clone(), turn, event);
        ctx.spawn(started.into_actor(self).map(move |started, actor, ctx| match started {
            Ok(way_in) => {
                // It may be over already.
                if actor.plan.event_of(turn).is_some() {
                    actor.started_turns.insert(turn, way_in);
                    if let Some(cause) = actor.plan.take_unwanted(turn) {
                        actor.stop_turn(turn, cause);
                    }
                }
                actor.touch();
            }
            Err(NotStarted::Refused(why)) => {
                let hold = actor.settings.refused == WhenRefused::Hold;
                actor.not_started(turn, why, hold, ctx);
            }
            Err(NotStarted::NoAnswer(error)) => Self::ask_again(turn, &error, ctx),
            Err(NotStarted::Over) => {
                actor.jobs.remove(&event);
                let steps = actor.plan.ended(turn);
                actor.carry_out(steps, ctx);
            }
            Err(NotStarted::Broke(error)) => {
                error!(%turn, %error, "a turn could not be started");
                actor.broke(turn, ctx);
            }
        }));
    }

    fn ask_again(turn: TurnId, error: &str, ctx: &mut Context<Self>) {
        warn!(%turn, %error, "a turn could not be started yet");
        ctx.run_later(PAUSE, move |actor, ctx| actor.not_started(turn, Refusal::Superseded, true, ctx));
    }

    /// The event of a turn that was not started waits or is refused; one that is to stop by now is not run by another turn.
    fn not_started(&mut self, turn: TurnId, why: Refusal, hold: bool, ctx: &mut Context<Self>) {
        if let Some(cause) = self.plan.take_unwanted(turn) {
            return self.stopped_early(turn, cause, ctx);
        }
        let Some(event) = self.plan.event_of(turn) else { return };
        let steps = self.plan.refused(turn, why, hold);
        self.carry_out_for(event, steps, ctx);
    }

    /// Takes an event off the books and tells the chat why.
    pub(super) fn turn_away(&mut self, event: InboundId, notice: &Notice, ctx: &mut Context<Self>) {
        self.ports.counts.refused();
        info!(row = event.0, reason = notice.reason(), "an event is refused");
        if let Some(job) = self.jobs.remove(&event) {
            return self.turned_away(event, Some(&job), notice, ctx);
        }
        let (notice, read) = (notice.clone(), self.ports.read_inbound.ask(ReadInbound { id: event }, LEDGER_TIMEOUT));
        ctx.spawn(read.into_actor(self).map(move |read, actor, ctx| {
            let row = read.ok().and_then(Result::ok);
            if row.is_none() {
                warn!(row = event.0, "an event is refused whose chat cannot be read from the ledger");
            }
            let job = row.and_then(Job::from_row);
            actor.turned_away(event, job.as_ref().map(|(_, job)| job), &notice, ctx);
        }));
    }

    fn turned_away(&mut self, event: InboundId, job: Option<&Job>, notice: &Notice, ctx: &mut Context<Self>) {
        if let Some(job) = job {
            self.say(&job.target, notice, ctx);
        }
        self.mark(event, InboundState::Refused, None, Some(notice.reason().to_owned()), ctx);
        // The drain may be over by now, and its end have found nothing of this.
        if *notice == Notice::Maintenance && job.is_some_and(|job| self.plan.is_open(&job.profile)) {
            self.tell_unread(ctx);
        }
    }

    pub(super) fn steer(&mut self, turn: TurnId, event: InboundId, late: bool, ctx: &mut Context<Self>) {
        let Some(job) = self.jobs.get(&event) else { return };
        let (key, link) = (job.session.clone(), job.target.link.clone());
        let question = SteerTurn { raw_event: Arc::clone(&job.raw_event) };
        let steer = self.started_turns.steer(turn);
        // Sent now and not when the runtime comes to it, so that the agent hears first what was said first.
        let asked = steer.map(|steer| steer.ask(question, GATE_TIMEOUT));
        let steered = async move { Some(asked?.await) };
        ctx.spawn(steered.into_actor(self).map(move |steered, actor, ctx| {
            if let Some(Ok(Ok(()))) = steered {
                // Not done with before its turn is: should the process die with the turn, the event runs by itself.
                let state = if actor.plan.steered(turn, event) {
                    InboundState::Received
                } else {
                    actor.jobs.remove(&event);
                    InboundState::Done
                };
                actor.mark(event, state, Some(turn), Some("steered".to_owned()), ctx);
            } else {
                let hold = actor.settings.refused == WhenRefused::Hold;
                let steps = actor.plan.not_steered(event, &key, &link, late, hold);
                actor.carry_out_for(event, steps, ctx);
            }
        }));
    }
}
