//! The handlers of the messages.

use std::collections::HashMap;
use std::sync::Arc;

use actix::{Handler, MessageResult};
use futures_util::future::FutureExt as _;
use tracing::{error, info, warn};

use super::super::event::ChatCommand;
use super::super::notice::Notice;
use super::super::plan::WaitingCounts;
use super::super::ports::DispatchPorts;
use super::super::settings::DispatchSettings;
use super::{
    AnsweredOffer, DispatchActor, EventAction, FULL_MAILBOX_PAUSE, GateState, Offer, RecordAnswered, RecordedEvent,
};
use crate::config::messages::SettingsChanged;
use crate::hand_over::{LEDGER_TIMEOUT, hand_over_and_wait};
use crate::settings::{Busy, WhenRefused};
use caduceus_contract::messages::batch::Batch;
use caduceus_contract::messages::dispatch::{
    AnnounceStop, DispatchView, GetDispatch, NotRecorded, OfferEvents, OfferedEvent, StopSession, StopTurnById,
    UnknownTurn,
};
use caduceus_contract::messages::drain::DrainChanged;
use caduceus_contract::messages::ledger::{InboundState, LedgerError, RecordInbound, Recorded, WithdrawTurns};
use caduceus_contract::messages::turn::{DispatcherNotReady, StopCause, TurnEnded};
use caduceus_contract::wire::session::SessionKey;
use caduceus_supervision::{AskError, ChildExited, Port, ResponseFuture, TellError, spawn};

/// Longest name of a profile in the log, in characters; no served profile has a longer one.
const MAX_SHOWN_NAME: usize = 64;

/// The answer of the ledger for events that were offered together.
type BatchAnswer = Result<Result<Vec<Result<Recorded, LedgerError>>, LedgerError>, AskError>;

impl Handler<OfferEvents> for DispatchActor {
    type Result = ResponseFuture<Vec<Result<(), NotRecorded>>>;

    fn handle(&mut self, OfferEvents(events): OfferEvents, _: &mut Self::Context) -> Self::Result {
        let (records, offers): (Vec<_>, Vec<_>) = events.into_iter().map(|event| self.record_of(event)).unzip();
        let recorded = self.ports.ledger.record_inbound.ask(Batch(records), LEDGER_TIMEOUT);
        let (own, incarnation, place) = (self.own.clone(), self.incarnation.clone(), self.arrivals.reserve());
        let ports = Arc::clone(&self.ports);
        // The future outlives this incarnation. If that fails meanwhile it is fenced, and its successor finds the events in the ledger.
        ResponseFuture::new(async move {
            let answer = recorded.await;
            // The record may still be carried out, and would show turns as running that never start.
            if let Err(AskError::Timeout | AskError::Closed) = answer {
                withdraw(&ports, &own, &offers);
            }
            let recorded = if incarnation.is_fenced() {
                // The thread resumed after its actors had been replaced. The new incarnation has read the ledger since, and the
                // connector sends again the events that were not in it.
                return offers.iter().map(|_| Err(NotRecorded::LedgerUnavailable)).collect();
            } else {
                recorded_of(answer, offers.len())
            };
            let duplicates = recorded.iter().filter(|recorded| matches!(recorded, Some(Recorded::Duplicate { .. })));
            duplicates.for_each(|_| ports.counts.duplicate());
            let answers = recorded.iter().map(|recorded| match recorded {
                Some(_) => Ok(()),
                None => Err(NotRecorded::LedgerUnavailable),
            });
            let answers = answers.collect();
            let offers = offers.into_iter().zip(recorded).map(|(offer, recorded)| AnsweredOffer { offer, recorded });
            let place = Some((incarnation.generation(), place));
            send_recorded(&own, RecordAnswered { place, offers: offers.collect() }).await;
            answers
        })
    }
}

/// What the ledger recorded of events that were offered together; failures are logged.
fn recorded_of(answer: BatchAnswer, number: usize) -> Vec<Option<Recorded>> {
    let reason = match answer {
        Ok(Ok(recorded)) => {
            let one = |recorded: Result<Recorded, LedgerError>| {
                recorded
                    .inspect_err(|error| error!(%error, "event not written to the ledger, and not acknowledged"))
                    .ok()
            };
            return recorded.into_iter().map(one).collect();
        }
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    warn!(reason, "events not written to the ledger, and not acknowledged");
    vec![None; number]
}

/// Takes back the turns of events whose record had no answer. What was recorded nevertheless is queued, whether or not the connector
/// sends it again.
fn withdraw(ports: &DispatchPorts, own: &Port<RecordAnswered>, offers: &[Offer]) {
    let turn = |Offer { job, action }: &Offer| match action {
        EventAction::Begin(turn, _) => Some((*turn, job.clone())),
        EventAction::Return
        | EventAction::Run
        | EventAction::Hold
        | EventAction::Refuse(_)
        | EventAction::Execute(_) => None,
    };
    let mut jobs: HashMap<_, _> = offers.iter().filter_map(turn).collect();
    if jobs.is_empty() {
        return;
    }
    let withdraw = WithdrawTurns { turns: jobs.keys().copied().collect() };
    let (withdrawn, own) = (hand_over_and_wait(&ports.ledger.withdraw_turns, withdraw, None), own.clone());
    spawn(async move {
        match withdrawn.await {
            Ok(withdrawn) => {
                let offer = |(turn, id)| {
                    let offer = Offer { job: jobs.remove(&turn)?, action: EventAction::Return };
                    Some(AnsweredOffer { offer, recorded: Some(Recorded::New(id)) })
                };
                // The newest is the first in the answer.
                let offers: Vec<_> = withdrawn.into_iter().rev().filter_map(offer).collect();
                send_recorded(&own, RecordAnswered { place: None, offers }).await;
            }
            Err(error) => error!(%error, "turns that did not start are not withdrawn in the ledger"),
        }
    });
}

impl DispatchActor {
    /// The record of an event that was offered, and what follows once it is on disk.
    fn record_of(&mut self, offered: OfferedEvent) -> (RecordInbound, Offer) {
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
        (record, Offer { job, action })
    }
}

/// Sends the events to the current incarnation. Later ones wait for them, so a full mailbox is tried again.
async fn send_recorded(own: &Port<RecordAnswered>, mut answered: RecordAnswered) {
    while let Err((error, returned)) = own.tell_or_return(answered) {
        answered = returned;
        if error != TellError::Full {
            let row = |answered: &AnsweredOffer| match answered.recorded? {
                Recorded::New(id) | Recorded::Duplicate { id, .. } => Some(id.0),
            };
            let rows: Vec<_> = answered.offers.iter().filter_map(row).collect();
            return error!(?rows, %error, "events on disk, but not queued before the next start");
        }
        tokio::time::sleep(FULL_MAILBOX_PAUSE).await;
    }
}

impl Handler<RecordAnswered> for DispatchActor {
    type Result = ();

    fn handle(&mut self, answered: RecordAnswered, ctx: &mut Self::Context) {
        let place = answered.place.and_then(|(generation, place)| {
            // Not if an earlier incarnation assigned it.
            (generation == self.incarnation.generation()).then_some(place)
        });
        let is_own = place.is_some();
        let offers = match place {
            Some(place) => self.arrivals.complete(place, answered.offers),
            None => vec![answered.offers],
        };
        for answered in offers.into_iter().flatten() {
            let event = if is_own { self.settle_offer(answered, ctx) } else { RecordedEvent::of(answered) };
            if let Some(event) = event {
                self.process_or_defer(event, ctx);
            }
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
        if self.plan.session_of(order.turn).is_none() {
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
