//! An event that was offered, and what follows once the ledger has answered.

use actix::Message;

use super::event::DispatchJob;
use super::notice::Notice;
use crate::drain::permit::TurnPermit;
use crate::in_order::Place;
use caduceus_contract::messages::ledger::{InboundId, InboundState, Recorded};
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::chat_command::ChatCommand;

/// An event that was offered.
pub(super) struct Offer {
    pub(super) job: DispatchJob,
    /// What follows once it is on disk.
    pub(super) action: EventAction,
}

/// An event that was offered, with the answer of the ledger.
pub(super) struct AnsweredOffer {
    pub(super) offer: Offer,
    /// `None`: it is not on disk, or not known to be.
    pub(super) recorded: Option<Recorded>,
}

/// The ledger has answered about events that arrived together.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct RecordAnswered {
    /// `None` for events whose place was answered before.
    pub(super) place: Option<OfferPlace>,
    /// In order of arrival.
    pub(super) offers: Vec<AnsweredOffer>,
}

/// The place of events among the answers, and the generation of the incarnation that assigned it.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfferPlace {
    pub(super) generation: u64,
    pub(super) place: Place,
}

/// An event that is on disk, with the action that follows.
pub(super) struct RecordedEvent {
    pub(super) id: InboundId,
    pub(super) job: DispatchJob,
    pub(super) action: EventAction,
}

#[derive(Debug)]
pub(super) enum EventAction {
    /// It is recorded as running: its turn starts.
    Begin(TurnId, TurnPermit),
    /// Its turn never started: it waits in order of arrival.
    Return,
    Run,
    /// It waits for the end of a drain, and the chat is notified.
    Hold,
    Refuse(Notice),
    Execute(ChatCommand),
}

impl RecordedEvent {
    /// What follows for an event that was offered; `None` if nothing does.
    pub(super) fn of(AnsweredOffer { offer: Offer { job, action }, recorded }: AnsweredOffer) -> Option<Self> {
        match recorded? {
            Recorded::New(id) => Some(Self { id, job, action }),
            Recorded::Duplicate { id, state } => Some(Self { id, job, action: EventAction::of_duplicate(state)? }),
        }
    }
}

impl EventAction {
    /// Whether the event will wait, unless it is steered or its session has room for a turn by then.
    pub(super) fn waits(&self) -> bool {
        match self {
            Self::Return | Self::Run | Self::Hold => true,
            Self::Begin(..) | Self::Refuse(_) | Self::Execute(_) => false,
        }
    }

    /// What follows for an event that was recorded before, and is in this state. The answer to its first record may have been lost; an
    /// event is queued once at most.
    pub(super) fn of_duplicate(state: InboundState) -> Option<Self> {
        match state {
            InboundState::Received => Some(Self::Run),
            InboundState::Held => Some(Self::Hold),
            _ => None,
        }
    }
}
