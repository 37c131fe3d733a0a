//! The handlers of the messages.

use actix::{Handler, MessageResult};
use futures_util::future::FutureExt as _;
use tracing::{error, info, warn};

use super::super::event::ChatCommand;
use super::super::notice::Notice;
use super::super::plan::WaitingCounts;
use super::super::ports::LEDGER_TIMEOUT;
use super::super::settings::DispatchSettings;
use super::{DispatchActor, EventAction, FULL_MAILBOX_PAUSE, GateState, RecordAnswered, RecordedEvent};
use crate::config::messages::SettingsChanged;
use crate::settings::{Busy, WhenRefused};
use caduceus_contract::messages::dispatch::{
    AnnounceStop, DispatchView, GetDispatch, NotRecorded, OfferEvent, StopSession, StopTurnById, UnknownTurn,
};
use caduceus_contract::messages::drain::DrainChanged;
use caduceus_contract::messages::ledger::{InboundState, RecordInbound, Recorded};
use caduceus_contract::messages::turn::{DispatcherNotReady, StopCause, TurnEnded};
use caduceus_contract::wire::session::SessionKey;
use caduceus_supervision::{ChildExited, Port, ResponseFuture, TellError};

/// Longest name of a profile in the log, in characters; no served profile has a longer one.
const MAX_SHOWN_NAME: usize = 64;

impl Handler<OfferEvent> for DispatchActor {
    type Result = ResponseFuture<Result<(), NotRecorded>>;

    fn handle(&mut self, inbound: OfferEvent, _: &mut Self::Context) -> Self::Result {
        let (profile, unserved) = match self.settings.rules.profile(&inbound) {
            Ok(profile) => (profile, false),
            Err(name) => {
                let named: String = name.chars().take(MAX_SHOWN_NAME).collect();
                let named = named.escape_debug();
                warn!(link = %inbound.link.0, %named, "event refused: the profile that it names is not served");
                (self.settings.rules.default.clone(), true)
            }
        };
        let job = self.settings.rules.job(&inbound, profile);
        let (state, action) = match ChatCommand::parse(&inbound.event.text) {
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
            target: job.target.clone(),
            buffer_id: inbound.buffer_id,
            digest: inbound.digest,
            message_id: job.event.message_id.clone(),
            profile: job.profile.clone(),
            session: job.session.clone(),
            event: job.raw_event.to_string(),
            state,
            note,
        };
        let recorded = self.ports.ledger.record_inbound.ask(record, LEDGER_TIMEOUT);
        let (own, incarnation, place) = (self.own.clone(), self.incarnation.clone(), self.arrivals.arrived());
        let counts = self.ports.counts.clone();
        // The future outlives this incarnation: an event on disk is acknowledged and processed even if the incarnation fails meanwhile.
        ResponseFuture::new(async move {
            let recorded = recorded.await;
            if incarnation.is_fenced() {
                // The thread resumed after its actors had been replaced. The new incarnation has read the ledger since, and the
                // connector sends again the events that were not in it.
                return Err(NotRecorded::LedgerUnavailable);
            }
            if matches!(recorded, Ok(Ok(Recorded::Duplicate { .. }))) {
                counts.duplicate();
            }
            let (event, answer) = match recorded {
                Ok(Ok(Recorded::New(id))) => (Some(RecordedEvent { id, job, action }), Ok(())),
                // The answer to its first record may have been lost; an event is queued once at most.
                Ok(Ok(Recorded::Duplicate { id, state: InboundState::Received })) => {
                    (Some(RecordedEvent { id, job, action: EventAction::Run }), Ok(()))
                }
                Ok(Ok(Recorded::Duplicate { id, state: InboundState::Held })) => {
                    (Some(RecordedEvent { id, job, action: EventAction::Hold }), Ok(()))
                }
                Ok(Ok(Recorded::Duplicate { .. })) => (None, Ok(())),
                Ok(Err(error)) => {
                    error!(%error, "event not written to the ledger, and not acknowledged");
                    (None, Err(NotRecorded::LedgerUnavailable))
                }
                Err(error) => {
                    warn!(%error, "event not written to the ledger, and not acknowledged");
                    (None, Err(NotRecorded::LedgerUnavailable))
                }
            };
            send_recorded(&own, RecordAnswered { place, generation: incarnation.generation(), event }).await;
            answer
        })
    }
}

/// Sends the outcome of an event to the current incarnation. Later events wait for it, so a full mailbox is tried again.
async fn send_recorded(own: &Port<RecordAnswered>, answered: RecordAnswered) {
    while let Err(error) = own.tell(answered.clone()) {
        if error != TellError::Full {
            let row = answered.event.as_ref().map(|event| event.id.0);
            return error!(?row, %error, "event on disk, but not queued before the next start");
        }
        tokio::time::sleep(FULL_MAILBOX_PAUSE).await;
    }
}

impl Handler<RecordAnswered> for DispatchActor {
    type Result = ();

    fn handle(&mut self, RecordAnswered { place, generation, event }: RecordAnswered, ctx: &mut Self::Context) {
        if generation == self.incarnation.generation() {
            return self.settled(place, event, ctx);
        }
        // An earlier incarnation assigned the place.
        if let Some(event) = event {
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
        let Ok(turn) = exited.id.parse() else { return };
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
