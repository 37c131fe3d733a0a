//! Records the events that links offer, and processes them in order of arrival when the ledger has answered.

use std::sync::Arc;

use actix::Handler;
use futures_util::future::FutureExt as _;
use tracing::warn;

use super::super::counts::Dropped;
use super::super::notice::Notice;
use super::super::recorded::{EventAction, Offer, RecordAnswered, RecordedEvent};
use super::DispatchActor;
use crate::settings::{Busy, WhenRefused};
use caduceus_contract::messages::dispatch::{ArrivedAs, NotRecorded, OfferEvents, OfferedEvent};
use caduceus_contract::messages::ledger::{InboundState, RecordInbound};
use caduceus_contract::wire::chat_command::ChatCommand;
use caduceus_contract::wire::session::SessionKey;
use caduceus_supervision::ResponseFuture;

/// Longest name of a profile in the log, in characters; no served profile has a longer one.
const MAX_SHOWN_NAME: usize = 64;

impl Handler<OfferEvents> for DispatchActor {
    type Result = ResponseFuture<Vec<Result<(), NotRecorded>>>;

    fn handle(&mut self, OfferEvents(events): OfferEvents, _: &mut Self::Context) -> Self::Result {
        let (mut records, mut offers) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
        let mut are_taken = Vec::with_capacity(events.len());
        for event in events {
            let taken = self.record_of(event);
            are_taken.push(taken.is_some());
            if let Some((record, offer)) = taken {
                records.push(record);
                offers.push(offer);
            }
        }
        if offers.is_empty() {
            return ResponseFuture::ready(vec![Err(NotRecorded::TooManyWait); are_taken.len()]);
        }
        let recorded = self.offers.record(&self.ports, records, offers);
        ResponseFuture::new(recorded.map(move |answers| {
            let mut answers = answers.into_iter();
            let mut recorded = || answers.next().unwrap_or(Err(NotRecorded::LedgerUnavailable));
            let answer = |is_taken: bool| if is_taken { recorded() } else { Err(NotRecorded::TooManyWait) };
            are_taken.into_iter().map(answer).collect()
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
        // Also of what was not recorded.
        self.count_waiting();
    }
}

impl DispatchActor {
    /// The record of an event that was offered, and what follows once it is on disk; `None` for a delivery that would have to wait while
    /// too many do.
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
            // A steered event does not wait; if it has to after all, it is refused then.
            None if action.waits() && !self.may_steer(&job.session) && !self.has_room(&job.target.link, 0) => {
                self.plan.recorded(&job.session, &job.target.link);
                self.count_waiting();
                if offered.arrived_as == ArrivedAs::Delivery {
                    self.ports.counts.dropped(Dropped::Event);
                    return None;
                }
                // Acknowledged and never run later, so later ones of its session overtake nothing.
                (InboundState::Refused, None, EventAction::Refuse(Notice::LinkFull))
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

    /// A drain starts no turn; a running one can still be steered.
    fn may_steer(&self, session: &SessionKey) -> bool {
        self.settings.values().sessions.busy == Busy::Steer && self.plan.turn_in(session).is_some()
    }
}
