//! Events whose turns start as soon as they are recorded: they wait for nothing, and have their permit before the record, which says
//! that they run. The permit travels with the event until its turn starts, so the gate lists the turn all the time: a dispatcher that
//! restarts meanwhile finds it among the running ones, and starts it when the answer of the ledger arrives.

use actix::Context;
use tracing::warn;

use super::super::event::DispatchJob;
use super::super::notice::Notice;
use super::super::recorded::{AnsweredOffer, EventAction, Offer, RecordedEvent};
use super::super::start::permit_request;
use super::DispatchActor;
use crate::drain::permit::TurnPermit;
use caduceus_contract::messages::ledger::{InboundId, Recorded};
use caduceus_contract::turn_id::TurnId;

impl DispatchActor {
    /// Takes a permit for the turn of an event that waits for nothing.
    pub(super) fn take_permit(&mut self, job: &DispatchJob) -> Option<(TurnId, TurnPermit)> {
        let is_ready = job.descriptor.is_some() && self.settings.profiles.contains_key(&job.profile);
        let gate = &self.ports.permits;
        let admit = |turn| {
            let taken = gate.take_permits(is_ready.then(|| ((), permit_request(turn, job))));
            taken.answered.into_iter().find_map(|((), permit)| permit.ok())
        };
        self.plan.offered(&job.session, &job.target.link, admit)
    }

    /// Applies the answer of the ledger to the place that an event took in the plan when it was offered. Returns what follows.
    pub(super) fn settle_offer(&mut self, answered: AnsweredOffer, ctx: &mut Context<Self>) -> Option<RecordedEvent> {
        let AnsweredOffer { offer: Offer { job, action }, recorded } = &answered;
        let ended = match (action, recorded) {
            (EventAction::Begin(turn, _), Some(Recorded::New(id))) => {
                self.plan.begun(*turn, *id);
                None
            }
            (EventAction::Begin(turn, _), _) => Some(*turn),
            (EventAction::Run | EventAction::Hold, _) => {
                self.plan.recorded(&job.session, &job.target.link);
                None
            }
            (EventAction::Return | EventAction::Refuse(_) | EventAction::Execute(_), _) => None,
        };
        let event = RecordedEvent::of(answered);
        if let Some(turn) = ended {
            let steps = self.plan.ended(turn);
            self.carry_out(steps, ctx);
        }
        event
    }

    /// The event of a turn with a permit is recorded as running.
    pub(super) fn begin(
        &mut self,
        turn: TurnId,
        permit: TurnPermit,
        event: InboundId,
        job: DispatchJob,
        ctx: &mut Context<Self>,
    ) {
        if self.plan.event_of(turn) != Some(event) {
            // An earlier incarnation took the permit, and this one did not find the turn when it rebuilt its queues, or has given it up.
            let is_given_up = self.ports.permits.never_started(turn);
            drop(permit);
            if !is_given_up && !self.plan.contains(event) {
                self.withdraw(turn, event);
                self.process(RecordedEvent { id: event, job, action: EventAction::Run }, ctx);
            }
            return;
        }
        // It is started here, and not by an earlier incarnation.
        self.turns.running_mut().start_own(turn);
        let Some(profile) = self.settings.profiles.get(&job.profile).cloned() else {
            // It was served when the event was accepted; an event never runs under another profile instead.
            warn!(%turn, profile = %job.profile, "event refused: its profile is no longer served");
            self.turns.hold_job(event, job);
            self.refuse(event, &Notice::UnservedProfile);
            drop(permit);
            let steps = self.plan.ended(turn);
            return self.carry_out(steps, ctx);
        };
        self.turns.hold_job(event, job.clone());
        if let Some(cause) = self.plan.take_pending_stop(turn) {
            drop(permit);
            return self.stopped_early(turn, cause, ctx);
        }
        self.turns.begin(turn, event, job, profile, permit);
        self.tasks.poll_again();
    }
}
