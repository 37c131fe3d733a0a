//! Records the events that links offer, and processes them in order of arrival when the ledger has answered.

use std::sync::Arc;

use actix::Handler;
use futures_util::future::FutureExt as _;
use tracing::{info, warn};

use super::super::counts::Dropped;
use super::super::notice::Notice;
use super::super::recorded::{EventAction, Offer, RecordAnswered, RecordedEvent};
use super::super::room::Admission;
use super::DispatchActor;
use crate::settings::{Busy, WhenRefused};
use caduceus_contract::messages::dispatch::{NotRecorded, OfferEvents, OfferedEvent};
use caduceus_contract::messages::ledger::{InboundState, RecordInbound};
use caduceus_contract::wire::chat_command::ChatCommand;
use caduceus_contract::wire::session::SessionKey;
use caduceus_supervision::ResponseFuture;

/// Longest name of a profile in the log, in characters; no served profile has a longer one.
const MAX_SHOWN_NAME: usize = 64;

impl Handler<OfferEvents> for DispatchActor {
    type Result = ResponseFuture<Vec<Result<(), NotRecorded>>>;

    fn handle(&mut self, OfferEvents(events): OfferEvents, _: &mut Self::Context) -> Self::Result {
        let number = events.len();
        let (mut records, mut offers) = (Vec::with_capacity(number), Vec::with_capacity(number));
        // Behind one that is not taken nothing is: it may be of the same session.
        for (record, offer) in events.into_iter().map_while(|event| self.record_of(event)) {
            records.push(record);
            offers.push(offer);
        }
        for _ in offers.len()..number {
            self.ports.counts.dropped(Dropped::Offer);
        }
        if offers.is_empty() {
            return ResponseFuture::ready(vec![Err(NotRecorded::TooManyWait); number]);
        }
        let recorded = self.offers.record(&self.ports, records, offers);
        ResponseFuture::new(recorded.map(move |mut answers| {
            answers.resize(number, Err(NotRecorded::TooManyWait));
            answers
        }))
    }
}

impl Handler<RecordAnswered> for DispatchActor {
    type Result = ();

    fn handle(&mut self, answered: RecordAnswered, ctx: &mut Self::Context) {
        let (offers, is_own) = self.offers.answered(answered);
        for answered in offers {
            let event = if is_own { self.settle_offer(answered, ctx) } else { RecordedEvent::of(answered) };
            if let Some(event) = event.and_then(|event| self.offers.defer(event)) {
                self.process(event, ctx);
            }
        }
    }
}

impl DispatchActor {
    /// The record of an event that was offered, and what follows once it is on disk; `None` if it would have to wait and too many do.
    fn record_of(&mut self, offered: OfferedEvent) -> Option<(RecordInbound, Offer)> {
        let (profile, unserved) = match self.settings.rules.profile(&offered) {
            Ok(profile) => (profile, false),
            Err(name) => {
                let named: String = name.chars().take(MAX_SHOWN_NAME).collect();
                let named = named.escape_debug();
                warn!(link = %offered.link.0, %named, "event refused: the profile that it names is not served");
                (self.settings.rules.default.clone(), true)
            }
        };
        let job = self.settings.rules.job(&offered, profile);
        let (state, action) = match ChatCommand::parse(&offered.event.text) {
            _ if unserved => (InboundState::Refused, EventAction::Refuse(Notice::UnservedProfile)),
            Some(command) => (InboundState::Done, EventAction::Execute(command)),
            None if self.plan.is_open(&job.profile) || self.may_steer(&job.session) => {
                (InboundState::Received, EventAction::Run)
            }
            None => match self.settings.values().drain.refused {
                WhenRefused::Notice => (InboundState::Refused, EventAction::Refuse(Notice::Maintenance)),
                WhenRefused::Hold => (InboundState::Held, EventAction::Hold),
            },
        };
        let permitted = match &action {
            EventAction::Run | EventAction::Hold => self.take_permit(&job),
            EventAction::Begin(..) | EventAction::Return | EventAction::Refuse(_) | EventAction::Execute(_) => None,
        };
        let (state, turn, action) = match permitted {
            Some((turn, permit)) => (InboundState::Running, Some(turn), EventAction::Begin(turn, permit)),
            None if matches!(action, EventAction::Run | EventAction::Hold) && !self.has_room() => {
                self.plan.recorded(&job.session);
                return None;
            }
            None => (state, None, action),
        };
        let note = match &action {
            EventAction::Refuse(notice) => Some(notice.reason().to_owned()),
            EventAction::Begin(..)
            | EventAction::Return
            | EventAction::Run
            | EventAction::Hold
            | EventAction::Execute(_) => None,
        };
        let record = RecordInbound {
            target: Arc::clone(&job.target),
            receipt: offered.receipt,
            buffer_id: offered.buffer_id,
            digest: offered.digest,
            message_id: job.event.message_id.clone(),
            profile: job.profile.clone(),
            session: job.session.clone(),
            event: job.raw_event.clone(),
            state,
            turn,
            note,
        };
        Some((record, Offer { job, action }))
    }

    /// Whether the event that was offered last, and has to wait, has room beside those that wait already, of all dispatchers.
    fn has_room(&mut self) -> bool {
        let (waiting, limit) = (self.count_events().saturating_sub(1), self.settings.values().turns.max_waiting);
        match self.intake.admit(waiting, limit) {
            Admission::Taken { is_first } => {
                if is_first {
                    info!(waiting, limit, "events are taken again");
                }
                true
            }
            Admission::Refused { is_first } => {
                if is_first {
                    warn!(waiting, limit, "too many events wait: no event is taken that has to wait");
                    self.ports.status.report();
                }
                false
            }
        }
    }

    /// A drain starts no turn; a running one can still be steered.
    fn may_steer(&self, session: &SessionKey) -> bool {
        self.settings.values().sessions.busy == Busy::Steer && self.plan.turn_in(session).is_some()
    }
}
