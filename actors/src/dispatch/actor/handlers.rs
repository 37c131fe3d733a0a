//! The handlers of the messages.

use std::sync::Arc;

use actix::{Handler, MessageResult};
use futures_util::future::FutureExt as _;
use tracing::{error, info, warn};

use super::super::event::{ChatCommand, DispatchJob};
use super::super::notice::Notice;
use super::super::plan::WaitingCounts;
use super::super::settings::DispatchSettings;
use super::{DispatchActor, EventAction, FULL_MAILBOX_PAUSE, GateState, RecordAnswered, RecordedEvent};
use crate::config::messages::SettingsChanged;
use crate::hand_over::LEDGER_TIMEOUT;
use crate::settings::{Busy, WhenRefused};
use caduceus_contract::messages::batch::Batch;
use caduceus_contract::messages::dispatch::{
    AnnounceStop, DispatchView, GetDispatch, NotRecorded, OfferEvents, OfferedEvent, StopSession, StopTurnById,
    UnknownTurn,
};
use caduceus_contract::messages::drain::DrainChanged;
use caduceus_contract::messages::ledger::{InboundState, RecordInbound, Recorded};
use caduceus_contract::messages::turn::{DispatcherNotReady, StopCause, TurnEnded};
use caduceus_contract::wire::session::SessionKey;
use caduceus_supervision::{ChildExited, Port, ResponseFuture, TellError};

/// Longest name of a profile in the log, in characters; no served profile has a longer one.
const MAX_SHOWN_NAME: usize = 64;

impl Handler<OfferEvents> for DispatchActor {
    type Result = ResponseFuture<Vec<Result<(), NotRecorded>>>;

    fn handle(&mut self, OfferEvents(events): OfferEvents, _: &mut Self::Context) -> Self::Result {
        let (records, offers): (Vec<_>, Vec<_>) = events.into_iter().map(|event| self.record_of(event)).unzip();
        let recorded = self.ports.ledger.record_inbound.ask(Batch(records), LEDGER_TIMEOUT);
        let (own, incarnation, place) = (self.own.clone(), self.incarnation.clone(), self.arrivals.reserve());
        let counts = self.ports.counts.clone();
        // The future outlives this incarnation: an event on disk is acknowledged and processed even if the incarnation fails meanwhile.
        ResponseFuture::new(async move {
            let recorded = recorded.await;
            let unavailable = || Err(NotRecorded::LedgerUnavailable);
            if incarnation.is_fenced() {
                // The thread resumed after its actors had been replaced. The new incarnation has read the ledger since, and the
                // connector sends again the events that were not in it.
                return offers.iter().map(|_| unavailable()).collect();
            }
            let (mut events, mut answers) = (Vec::new(), Vec::new());
            match recorded {
                Ok(Ok(recorded)) => {
                    for (recorded, (job, action)) in recorded.into_iter().zip(offers) {
                        answers.push(recorded.as_ref().map(drop).map_err(|error| {
                            error!(%error, "event not written to the ledger, and not acknowledged");
                            NotRecorded::LedgerUnavailable
                        }));
                        let Ok(recorded) = recorded else { continue };
                        if matches!(recorded, Recorded::Duplicate { .. }) {
                            counts.duplicate();
                        }
                        events.extend(RecordedEvent::of(recorded, job, action));
                    }
                }
                Ok(Err(error)) => {
                    error!(%error, "events not written to the ledger, and not acknowledged");
                    answers.extend(offers.iter().map(|_| unavailable()));
                }
                Err(error) => {
                    warn!(%error, "events not written to the ledger, and not acknowledged");
                    answers.extend(offers.iter().map(|_| unavailable()));
                }
            }
            send_recorded(&own, RecordAnswered { place, generation: incarnation.generation(), events }).await;
            answers
        })
    }
}

impl DispatchActor {
    /// The record of an event that was offered, and the action that follows once it is on disk.
    fn record_of(&self, offered: OfferedEvent) -> (RecordInbound, (DispatchJob, EventAction)) {
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
        let note = match &action {
            EventAction::Refuse(notice) => Some(notice.reason().to_owned()),
            EventAction::Run | EventAction::Hold | EventAction::Execute(_) => None,
        };
        let record = RecordInbound {
            target: Arc::clone(&job.target),
            buffer_id: offered.buffer_id,
            digest: offered.digest,
            message_id: job.event.message_id.clone(),
            profile: job.profile.clone(),
            session: job.session.clone(),
            event: job.raw_event.to_string(),
            state,
            note,
        };
        (record, (job, action))
    }
}

impl RecordedEvent {
    /// What follows for an event that is in the ledger; `None` if nothing does.
    fn of(recorded: Recorded, job: DispatchJob, action: EventAction) -> Option<Self> {
        match recorded {
            Recorded::New(id) => Some(Self { id, job, action }),
            // The answer to its first record may have been lost; an event is queued once at most.
            Recorded::Duplicate { id, state: InboundState::Received } => {
                Some(Self { id, job, action: EventAction::Run })
            }
            Recorded::Duplicate { id, state: InboundState::Held } => Some(Self { id, job, action: EventAction::Hold }),
            Recorded::Duplicate { .. } => None,
        }
    }
}

/// Sends the events to the current incarnation. Later ones wait for them, so a full mailbox is tried again.
async fn send_recorded(own: &Port<RecordAnswered>, mut answered: RecordAnswered) {
    while let Err((error, returned)) = own.tell_or_return(answered) {
        answered = returned;
        if error != TellError::Full {
            let rows: Vec<_> = answered.events.iter().map(|event| event.id.0).collect();
            return error!(?rows, %error, "events on disk, but not queued before the next start");
        }
        tokio::time::sleep(FULL_MAILBOX_PAUSE).await;
    }
}

impl Handler<RecordAnswered> for DispatchActor {
    type Result = ();

    fn handle(&mut self, answered: RecordAnswered, ctx: &mut Self::Context) {
        let events = if answered.generation == self.incarnation.generation() {
            self.arrivals.complete(answered.place, answered.events)
        } else {
            // An earlier incarnation assigned the place.
            vec![answered.events]
        };
        for event in events.into_iter().flatten() {
            self.process_or_defer(event, ctx);
        }
    }
}

impl DispatchActor {
    /// A drain starts no turn; a running one can still be steered.
    fn may_steer(&self, session: &SessionKey) -> bool {
        self.settings.values().sessions.busy == Busy::Steer && self.plan.turn_in(session).is_some()
    }
}

impl Handler<TurnEnded> for DispatchActor {
    type Result = ResponseFuture<Result<(), DispatcherNotReady>>;

    fn handle(&mut self, ended: TurnEnded, ctx: &mut Self::Context) -> Self::Result {
        if self.early.is_some() {
            return ResponseFuture::ready(Err(DispatcherNotReady));
        }
        info!(turn = %ended.id, outcome = ?ended.outcome, "turn.ended");
        let written = self.end_turn(ended, ctx);
        ResponseFuture::new(written.map(Ok))
    }
}

impl Handler<ChildExited> for DispatchActor {
    type Result = ();

    fn handle(&mut self, exited: ChildExited, ctx: &mut Self::Context) {
        let Ok(turn) = exited.id().parse() else { return };
        if let Some(early) = &mut self.early {
            early.exited.insert(turn);
            return;
        }
        // A turn that reported how it ended is no longer in the plan.
        if self.plan.event_of(turn).is_some() {
            if self.gate.stopping {
                warn!(%turn, reason = %exited.reason, "turn ended by the shutdown");
                return self.shut_down(turn, ctx);
            }
            error!(%turn, reason = %exited.reason, "turn crashed");
            self.crashed(turn, ctx);
        }
    }
}

impl Handler<DrainChanged> for DispatchActor {
    type Result = ();

    fn handle(&mut self, changed: DrainChanged, ctx: &mut Self::Context) {
        self.gate = GateState { draining: changed.draining, stopping: changed.stopping, reported: true };
        let steps = self.plan.gate(changed.draining, changed.profiles);
        self.carry_out(steps, ctx);
        self.report_refusals(ctx);
    }
}

impl Handler<SettingsChanged> for DispatchActor {
    type Result = ();

    fn handle(&mut self, SettingsChanged(in_force): SettingsChanged, ctx: &mut Self::Context) {
        let home = self.settings.home.take();
        self.settings = DispatchSettings::of(&in_force, home, self.settings.process_started_ms);
        let steps = self.plan.configure(self.settings.values());
        self.carry_out(steps, ctx);
    }
}

impl Handler<StopSession> for DispatchActor {
    type Result = bool;

    fn handle(&mut self, order: StopSession, _: &mut Self::Context) -> Self::Result {
        let turns = self.plan.turns_of(&order.session_key);
        for turn in &turns {
            self.stop_turn(*turn, order.cause);
        }
        !turns.is_empty()
    }
}

impl Handler<StopTurnById> for DispatchActor {
    type Result = Result<(), UnknownTurn>;

    fn handle(&mut self, order: StopTurnById, _: &mut Self::Context) -> Self::Result {
        // A turn that is being started can be stopped as well.
        if self.plan.event_of(order.turn).is_none() {
            return Err(UnknownTurn(order.turn));
        }
        self.stop_turn(order.turn, StopCause::Operator);
        Ok(())
    }
}

impl Handler<GetDispatch> for DispatchActor {
    type Result = MessageResult<GetDispatch>;

    fn handle(&mut self, _: GetDispatch, _: &mut Self::Context) -> Self::Result {
        let WaitingCounts { queued, held, awaiting_link } = self.plan.counts();
        let awaiting_link = awaiting_link.into_iter().chain(self.unlinked.counts());
        let mut view = DispatchView {
            sessions: self.plan.sessions(),
            running: self.started_turns.len(),
            queued,
            held,
            awaiting_link: awaiting_link.map(|(link, events)| (link.0.to_string(), events)).collect(),
            ..DispatchView::default()
        };
        self.ports.counts.fill(&mut view);
        MessageResult(view)
    }
}

impl Handler<AnnounceStop> for DispatchActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: AnnounceStop, _: &mut Self::Context) -> Self::Result {
        match &self.settings.home {
            Some(home) => ResponseFuture::new(home.announce_stop(&self.ports)),
            None => ResponseFuture::ready(()),
        }
    }
}
