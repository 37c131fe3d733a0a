//! The work of the ledger's thread, and the way of a reply: into the ledger, over the link, its result into the ledger.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;

use super::connector::{ChatMessage, Content};
use super::world::{Broken, World};
use super::{Composed, Mutant};
use crate::dispatch::composed::{ModelDispatch, Offer, Resend};
use crate::outbox::{is_pending, is_unsent, mark_after};
use crate::relay::composed::OfferedPlace;
use caduceus_contract::json::RawJson;
use caduceus_contract::messages::ledger::{
    InboundId, InboundState, MarkInbound, MarkOutbound, OutboundId, OutboundState, Receipt, RecordInbound,
    RecordOutbound, SettleTurn,
};
use caduceus_contract::profile_name::ProfileName;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::action_result::ActionResult;

/// A transaction of the ledger, with what follows its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Job {
    /// An event that was offered.
    Record {
        place: OfferedPlace,
        event: usize,
        offer: Offer,
    },
    /// A turn with a permit starts.
    MarkRunning {
        turn: TurnId,
        row: InboundId,
    },
    MarkEvent {
        row: InboundId,
        state: InboundState,
    },
    RecordReply {
        turn: TurnId,
        row: InboundId,
    },
    /// The question about an interrupted event.
    RecordQuestion {
        row: InboundId,
    },
    MarkReply {
        reply: OutboundId,
        state: OutboundState,
        then: AfterMark,
    },
    /// The replies that wait are listed.
    ListReplies,
    /// A turn has ended, with the result of its reply.
    Settle {
        turn: TurnId,
        row: InboundId,
        result: Option<(OutboundId, OutboundState)>,
    },
}

impl Job {
    /// Whether neither an event nor a turn depends on it.
    pub(super) fn is_aside(&self) -> bool {
        let is_aside = |then: &AfterMark| !matches!(then, AfterMark::EndTurn(..));
        match self {
            Self::Record { .. } | Self::MarkRunning { .. } | Self::RecordReply { .. } => false,
            Self::RecordQuestion { .. } | Self::ListReplies | Self::MarkEvent { .. } | Self::Settle { .. } => true,
            Self::MarkReply { then, .. } => is_aside(then),
        }
    }

    /// Whether nothing follows its answer.
    pub(super) fn is_last(&self) -> bool {
        matches!(self, Self::MarkEvent { .. } | Self::Settle { .. } | Self::MarkReply { then: AfterMark::Nothing, .. })
    }
}

/// What follows when the mark of a reply is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum AfterMark {
    Nothing,
    /// The reply, which waits, is reported.
    Report,
    /// The reply, which waits, is reported, and its turn ends.
    EndTurn(TurnId, InboundId),
    /// The reply, which was never sent, is sent.
    Send,
    /// The round of replies goes on. It is reported if it waits.
    Continue {
        waits: bool,
        goes_on: bool,
    },
}

/// What waits for the result of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Sender {
    Turn(TurnId, InboundId),
    Notice,
    /// A round of replies that are sent again. Its reply was certainly not sent before.
    Round {
        unsent: bool,
    },
}

/// Replies that are sent again, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Round(VecDeque<(OutboundId, OutboundState, bool)>);

impl World {
    /// The next transaction is on disk.
    pub(super) fn commit(&mut self, model: &Composed) {
        let Some(job) = self.process.jobs.pop_front() else { return };
        let now = self.process.now_ms();
        match job {
            Job::Record { place, event, offer } => {
                let record = record(model, event, offer);
                let recorded = self.disk.commit(&record, now).expect("the event is recorded");
                let orders = self.process.dispatch.recorded(offer, model.session(event), recorded);
                self.carry_out(model, orders);
                let acknowledged = self.process.link.taken(place, event);
                if !model.is(Mutant::AcknowledgesBeforeTheDisk) {
                    self.process.acknowledgements.extend(acknowledged);
                }
            }
            Job::MarkRunning { turn, row } => {
                let mark = MarkInbound { id: row, state: InboundState::Running, turn: Some(turn), note: None };
                let marked = if model.is(Mutant::DropsMark) { Ok(()) } else { self.disk.commit(&mark, now) };
                let orders = if marked.is_ok() {
                    self.begin(model, turn, row)
                } else {
                    // It was queued twice.
                    self.process.gate.release(turn);
                    self.process.dispatch.ended(turn)
                };
                self.carry_out(model, orders);
            }
            Job::MarkEvent { row, state } => {
                let mark = MarkInbound { id: row, state, turn: None, note: None };
                self.disk.commit(&mark, now).expect("the event is marked");
            }
            Job::RecordReply { turn, row } => {
                let message = self.message(row, Content::Reply);
                let reply = self.record(model, message, Some(row));
                self.send(model, reply, message, Sender::Turn(turn, row));
            }
            Job::RecordQuestion { row } => {
                let message = self.message(row, Content::Question);
                let reply = self.record(model, message, None);
                self.send(model, reply, message, Sender::Notice);
            }
            Job::MarkReply { reply, state, then } => {
                let mark = MarkOutbound { id: reply, state, message_id: None, error: None };
                let marked = self.disk.commit(&mark, now);
                // A reply that is settled is not sent again, and the mutant does not mind.
                assert!(marked.is_ok() || model.is(Mutant::ResendsSettled), "the reply is marked: {marked:?}");
                self.after_mark(model, reply, then);
            }
            Job::ListReplies => {
                let mut list = ModelDispatch::list_replies();
                list.states.extend(model.is(Mutant::ResendsSettled).then_some(OutboundState::Delivered));
                let rows = self.disk.commit(&list, now).expect("the replies are listed");
                let items = rows.into_iter().map(|row| (row.id, row.state, self.process.dispatch.resend(&row)));
                let items = items.filter(|(.., resend)| *resend != Resend::Nothing);
                let items = items.map(|(id, state, resend)| (id, state, resend == Resend::GiveUp)).collect();
                self.process.round = Some(Round(items));
                self.next_reply(model);
            }
            Job::Settle { turn, row, result } => {
                let event = MarkInbound { id: row, state: InboundState::Done, turn: Some(turn), note: None };
                let mark = |(id, state)| MarkOutbound { id, state, message_id: None, error: None };
                let settle =
                    SettleTurn { event: Some(event), replies: result.map(mark).into_iter().collect(), history: None };
                self.disk.commit(&settle, now).expect("the end of the turn is recorded");
                self.process.gate.release(turn);
            }
        }
    }

    /// Records a message before it is sent.
    fn record(&mut self, model: &Composed, message: ChatMessage, inbound: Option<InboundId>) -> OutboundId {
        let record = RecordOutbound {
            inbound,
            turn: None,
            number: None,
            target: Arc::clone(&model.target),
            action: RawJson::of(&message.to_string()),
            state: OutboundState::Sending,
        };
        self.disk.commit(&record, self.process.now_ms()).expect("the message is recorded")
    }

    fn send(&mut self, model: &Composed, reply: OutboundId, message: ChatMessage, sender: Sender) {
        if self.disk.reply(reply) == Some(OutboundState::Delivered) {
            self.break_guarantee(Broken::SentAfterSettled);
        }
        match self.process.link.send(reply) {
            Ok(request) => {
                self.process.messages.insert(request, message);
                self.process.senders.insert(request, sender);
            }
            Err(answer) => self.answered(model, sender, reply, &answer),
        }
    }

    /// The link has answered for a message.
    pub(super) fn answered(&mut self, model: &Composed, sender: Sender, reply: OutboundId, answer: &ActionResult) {
        let state = mark_after(reply, answer).state;
        let waits = is_pending(state);
        match sender {
            Sender::Turn(turn, row) if waits => {
                self.process.jobs.push_back(Job::MarkReply { reply, state, then: AfterMark::EndTurn(turn, row) });
            }
            Sender::Turn(turn, row) => self.end(model, turn, row, Some((reply, state))),
            Sender::Notice => {
                let then = if waits { AfterMark::Report } else { AfterMark::Nothing };
                self.process.jobs.push_back(Job::MarkReply { reply, state, then });
            }
            Sender::Round { unsent } => {
                let goes_on = ModelDispatch::goes_on(answer);
                if !unsent && answer.not_sent.is_some() {
                    // It was not sent this time; an earlier attempt may still have sent it.
                    return self.end_round();
                }
                if !unsent {
                    let then = AfterMark::Nothing;
                    self.process.jobs.push_back(Job::MarkReply { reply, state: OutboundState::Sending, then });
                }
                let then = AfterMark::Continue { waits, goes_on };
                self.process.jobs.push_back(Job::MarkReply { reply, state, then });
            }
        }
    }

    fn after_mark(&mut self, model: &Composed, reply: OutboundId, then: AfterMark) {
        match then {
            AfterMark::Nothing => {}
            AfterMark::Report => self.process.resend_due = true,
            AfterMark::EndTurn(turn, row) => {
                self.process.resend_due = true;
                self.end(model, turn, row, None);
            }
            AfterMark::Send => {
                let message = ChatMessage::parse(self.disk.action(reply).expect("the reply is on disk"));
                self.send(model, reply, message, Sender::Round { unsent: true });
            }
            AfterMark::Continue { waits, goes_on } => {
                self.process.resend_due |= waits;
                if goes_on { self.next_reply(model) } else { self.end_round() }
            }
        }
    }

    /// A turn ends: first for the ledger, then for the dispatcher.
    fn end(&mut self, model: &Composed, turn: TurnId, row: InboundId, result: Option<(OutboundId, OutboundState)>) {
        self.process.running.remove(&turn);
        self.process.jobs.push_back(Job::Settle { turn, row, result });
        let orders = self.process.dispatch.ended(turn);
        self.carry_out(model, orders);
    }

    /// The replies that wait are to be sent.
    pub(super) fn resend(&mut self) {
        self.process.resend_due = false;
        if self.process.dispatch.begin_resend() {
            self.process.jobs.push_back(Job::ListReplies);
        }
    }

    /// The next reply of the round is sent.
    fn next_reply(&mut self, model: &Composed) {
        let next = self.process.round.as_mut().and_then(|Round(replies)| replies.pop_front());
        let Some((reply, state, is_given_up)) = next else { return self.end_round() };
        if is_given_up {
            let then = AfterMark::Continue { waits: false, goes_on: true };
            return self.process.jobs.push_back(Job::MarkReply { reply, state: OutboundState::Dead, then });
        }
        if is_unsent(state) {
            let then = AfterMark::Send;
            return self.process.jobs.push_back(Job::MarkReply { reply, state: OutboundState::Sending, then });
        }
        let mut message = ChatMessage::parse(self.disk.action(reply).expect("the reply is on disk"));
        message.repeat |= !model.is(Mutant::ResendsWithoutMark);
        self.send(model, reply, message, Sender::Round { unsent: false });
    }

    fn end_round(&mut self) {
        self.process.round = None;
        if self.process.dispatch.end_resend() {
            self.resend();
        }
    }
}

/// The record of an event that was offered.
fn record(model: &Composed, event: usize, Offer { turn, state }: Offer) -> RecordInbound {
    RecordInbound {
        target: Arc::clone(&model.target),
        receipt: Receipt { gateway: None, arrived_at_ms: 0 },
        buffer_id: Some(event.to_string()),
        digest: [0; 32],
        message_id: None,
        profile: ProfileName::default_profile(),
        session: model.session(event).clone(),
        event: RawJson::of(&Value::from(event)),
        state,
        turn,
        note: None,
    }
}
