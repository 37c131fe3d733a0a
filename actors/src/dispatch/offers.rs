//! The events between their offer and the queues: they are recorded, and processed in order of arrival once the queues are rebuilt.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, warn};

use super::ports::DispatchPorts;
use super::recorded::{AnsweredOffer, EventAction, Offer, OfferPlace, RecordAnswered, RecordedEvent};
use crate::hand_over::{LEDGER_TIMEOUT, hand_over_and_wait};
use crate::in_order::InOrder;
use caduceus_contract::link::LinkId;
use caduceus_contract::messages::batch::Batch;
use caduceus_contract::messages::dispatch::NotRecorded;
use caduceus_contract::messages::ledger::{LedgerError, RecordInbound, Recorded, WithdrawTurns};
use caduceus_contract::turn_id::TurnId;
use caduceus_supervision::{AskError, Incarnation, Port, TellError, spawn};

/// Pause before a full mailbox is tried again.
const FULL_MAILBOX_PAUSE: Duration = Duration::from_millis(5);

/// The answer of the ledger for events that were offered together.
type BatchAnswer = Result<Result<Vec<Result<Recorded, LedgerError>>, LedgerError>, AskError>;

/// The order of the events that were offered.
pub(super) struct OfferOrder {
    own: Port<RecordAnswered>,
    incarnation: Incarnation,
    /// The runtime may deliver the answers of the ledger in any order, but a session runs its events in order of arrival.
    arrivals: InOrder<Vec<AnsweredOffer>>,
    /// Messages that arrived before the queues were rebuilt, processed afterwards; `None` once the queues are rebuilt.
    early: Option<EarlyEvents>,
}

/// Messages that arrived before the queues were rebuilt.
#[derive(Default)]
struct EarlyEvents {
    recorded: Vec<RecordedEvent>,
    /// Those of them that will wait, by link.
    waiting: BTreeMap<LinkId, usize>,
    /// Turns that exited without reporting how they ended.
    exited: HashSet<TurnId>,
}

impl OfferOrder {
    /// No offers yet; the queues are not rebuilt. The actor of `own` receives the answers.
    pub(super) fn new(own: Port<RecordAnswered>, incarnation: Incarnation) -> Self {
        Self { own, incarnation, arrivals: InOrder::default(), early: Some(EarlyEvents::default()) }
    }

    /// Records events that were offered together. [`RecordAnswered`] follows, before the future resolves to what the link may acknowledge; not if this incarnation was replaced.
    pub(super) fn record(
        &mut self,
        ports: &Arc<DispatchPorts>,
        records: Vec<RecordInbound>,
        offers: Vec<Offer>,
    ) -> impl Future<Output = Vec<Result<(), NotRecorded>>> + use<> {
        let recorded = ports.ledger.record_inbound.ask(Batch(records), LEDGER_TIMEOUT);
        let place = OfferPlace { generation: self.incarnation.generation(), place: self.arrivals.reserve() };
        let (ports, own, incarnation) = (Arc::clone(ports), self.own.clone(), self.incarnation.clone());
        // The future outlives this incarnation. If that fails meanwhile it is fenced, and its successor finds the events in the ledger.
        async move {
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
            send_recorded(&own, RecordAnswered { place: Some(place), offers: offers.collect() }).await;
            answers
        }
    }

    /// Returns the offers that are due, in order of arrival, and whether this incarnation recorded them.
    pub(super) fn answered(&mut self, answered: RecordAnswered) -> (Vec<AnsweredOffer>, bool) {
        // Not if an earlier incarnation assigned the place.
        let is_own = |place: &OfferPlace| place.generation == self.incarnation.generation();
        match answered.place.filter(is_own) {
            Some(OfferPlace { place, .. }) => {
                (self.arrivals.complete(place, answered.offers).into_iter().flatten().collect(), true)
            }
            None => (answered.offers, false),
        }
    }

    /// Whether the queues are not rebuilt yet.
    pub(super) fn is_early(&self) -> bool {
        self.early.is_some()
    }

    /// Defers an event until the queues are rebuilt; returns it if they are.
    pub(super) fn defer(&mut self, event: RecordedEvent) -> Option<RecordedEvent> {
        match &mut self.early {
            Some(early) => {
                if event.action.waits() {
                    *early.waiting.entry(event.job.target.link.clone()).or_default() += 1;
                }
                early.recorded.push(event);
                None
            }
            None => Some(event),
        }
    }

    /// Events of `link` that are deferred and will wait.
    pub(super) fn deferred_over(&self, link: &LinkId) -> usize {
        self.early.as_ref().and_then(|early| early.waiting.get(link)).copied().unwrap_or_default()
    }

    /// A turn exited. Whether that was before the queues were rebuilt: no further message about it follows.
    pub(super) fn exited(&mut self, turn: TurnId) -> bool {
        if let Some(early) = &mut self.early {
            early.exited.insert(turn);
        }
        self.is_early()
    }

    /// Whether a turn exited before the queues were rebuilt.
    pub(super) fn exited_early(&self, turn: TurnId) -> bool {
        self.early.as_ref().is_some_and(|early| early.exited.contains(&turn))
    }

    /// The queues are rebuilt. Returns the events that were deferred.
    pub(super) fn open(&mut self) -> Vec<RecordedEvent> {
        self.early.take().unwrap_or_default().recorded
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
