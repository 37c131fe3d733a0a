//! Delivers a turn's messages to its chat: first into the ledger, then over the link, then the result into the ledger.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tracing::{debug, error, warn};

use super::ports::TurnPorts;
use super::reply::ReplyAction;
use super::split::split;
use super::work::TurnWork;
use crate::outbox::{NotRecorded, Outbox, is_pending, mark_after};
use caduceus_contract::json::RawJson;
use caduceus_contract::link::Target;
use caduceus_contract::messages::ledger::{InboundId, MarkOutbound, OutboundId, OutboundState, RecordOutbound};
use caduceus_contract::messages::relay::SendAction;
use caduceus_contract::turn_id::TurnId;
use caduceus_contract::wire::action::{Action, ActionResult};
use caduceus_contract::wire::action_result::NotSent;
use caduceus_contract::wire::descriptor::LenUnit;
use caduceus_supervision::{Port, spawn};

/// Interval of attempts while the ledger accepts no writes.
const LEDGER_RETRY: Duration = Duration::from_secs(1);
/// Attempts at a link whose queue is full, and the pause between them.
const QUEUE_TRIES: u32 = 10;
const QUEUE_RETRY: Duration = Duration::from_secs(1);

/// Delivers one turn's messages to its chat. A clone shares everything.
#[derive(Clone)]
pub(super) struct ReplyDelivery(Rc<DeliveryState>);

struct DeliveryState {
    outbox: Outbox,
    link: Port<SendAction>,
    turn: TurnId,
    inbound: InboundId,
    target: Arc<Target>,
    /// The message to answer.
    reply_to: Option<String>,
    /// The session, and the kind of its interaction token, if the connector has one.
    follow_up: Option<(String, String)>,
    /// The limit of a message's length, and its unit.
    limit: (usize, LenUnit),
    /// The messages may have been sent before.
    repeats: bool,
    /// Set when the turn is to end: from then on it does not wait for the ledger.
    is_ending: Cell<bool>,
    /// Replies recorded so far.
    recorded: Cell<u32>,
    /// Results that are not in the ledger yet: they are written with the end of the turn, or before anything else is sent or
    /// waited for.
    unwritten: RefCell<Vec<MarkOutbound>>,
}

impl ReplyDelivery {
    /// The delivery of the turn for `work`.
    pub(super) fn new(work: &TurnWork, ports: &TurnPorts) -> Self {
        Self(Rc::new(DeliveryState {
            outbox: ports.outbox.clone(),
            link: ports.send.clone(),
            turn: work.id,
            inbound: work.inbound,
            target: work.target.clone(),
            reply_to: work.event.message_id.clone(),
            follow_up: work.event.follow_up.clone().map(|kind| (work.session.text(), kind)),
            limit: (work.descriptor.max_message_length, work.descriptor.len_unit),
            // Messages of an earlier, interrupted attempt may have arrived.
            repeats: work.attempt > 1,
            is_ending: Cell::default(),
            recorded: Cell::default(),
            unwritten: RefCell::default(),
        }))
    }

    /// Whether the chat is answered with an interaction token, which leaves no message that could be edited.
    pub(super) fn follows_up(&self) -> bool {
        self.0.follow_up.is_some()
    }

    /// The turn is to end: from now on, does not wait for a ledger that accepts no writes.
    pub(super) fn set_ending(&self) {
        self.0.is_ending.set(true);
    }

    /// Writes the results that are not in the ledger yet, without waiting for it.
    pub(super) fn write_results(&self) {
        for mark in self.0.unwritten.take() {
            spawn(self.0.outbox.mark(mark));
        }
    }

    /// The results that are not in the ledger yet, for the end of the turn.
    pub(super) fn take_results(&self) -> Vec<MarkOutbound> {
        self.0.unwritten.take()
    }

    /// Shows that the turn is working. May be lost.
    pub(super) fn typing(&self) {
        let target = self.0.target.clone();
        let action = Action::Typing { chat_id: target.chat_id.clone(), content: None, metadata: target.metadata() };
        if let Err(error) = self.0.link.tell(SendAction { target, action: RawJson::of(&action) }) {
            debug!(turn = %self.0.turn, %error, "typing not shown");
        }
    }

    /// Carries out one action of a reply.
    pub(super) async fn carry_out(self, reply: ReplyAction) -> (ReplyAction, ActionResult) {
        let action = RawJson::of(&self.action(reply.content.clone(), reply.edits.clone()));
        let result = if reply.shown_already {
            self.record_shown(action, reply.edits.clone()).await
        } else if reply.last {
            self.send_durably(action).await
        } else {
            self.send(action).await
        };
        (reply, result)
    }

    /// Sends `text` to the chat, durably.
    pub(super) async fn send_text(&self, text: String) {
        let (limit, unit) = self.0.limit;
        for part in split(&text, limit, unit) {
            self.send_durably(RawJson::of(&self.action(part, None))).await;
        }
    }

    /// Carries out an action of an agent; one with content is sent durably.
    pub(super) async fn act(self, id: Value, action: Action) -> (Value, ActionResult) {
        let written = RawJson::of(&action);
        let result = if action.carries_content() { self.send_durably(written).await } else { self.send(written).await };
        // The agent continues, for as long as it likes.
        self.write_results();
        (id, result)
    }

    fn action(&self, content: String, edits: Option<String>) -> Action {
        let (chat_id, mut metadata) = (self.0.target.chat_id.clone(), self.0.target.metadata());
        if self.0.repeats {
            metadata.insert("repeat".to_owned(), true.into());
        }
        match (edits, &self.0.follow_up) {
            (Some(message_id), _) => Action::Edit { chat_id, message_id, content, metadata },
            (None, Some((session_key, kind))) => {
                Action::FollowUp { session_key: session_key.clone(), kind: kind.clone(), content, metadata }
            }
            (None, None) => Action::Send { chat_id, content, reply_to: self.0.reply_to.clone(), metadata },
        }
    }

    /// Into the ledger, over the link, and the result into the ledger.
    async fn send_durably(&self, action: RawJson) -> ActionResult {
        self.write_results();
        let Some(row) = self.record(action.clone()).await else {
            return ActionResult::failed("it could not be written to the ledger");
        };
        let mut result = self.send(action.clone()).await;
        for _ in 0..QUEUE_TRIES {
            if result.not_sent != Some(NotSent::QueueFull) || self.0.is_ending.get() {
                break;
            }
            tokio::time::sleep(QUEUE_RETRY).await;
            result = self.send(action.clone()).await;
        }
        let mark = mark_after(row, &result);
        let state = mark.state;
        if state == OutboundState::Refused {
            warn!(turn = %self.0.turn, row = row.0, error = result.error, "reply refused by the connector");
        }
        if !is_pending(state) {
            self.0.unwritten.borrow_mut().push(mark);
            return result;
        }
        // The dispatcher looks for it in the ledger.
        self.0.outbox.mark(mark).await;
        self.0.outbox.report_pending(Some(row), self.0.target.link.clone());
        if state == OutboundState::Pending {
            // For the turn it is done: the ledger has it.
            return ActionResult { message_id: None, ..ActionResult::ambiguous("it waits for the link") };
        }
        result
    }

    /// Into the ledger, for a message that the chat shows already.
    async fn record_shown(&self, action: RawJson, message_id: Option<String>) -> ActionResult {
        if let Some(row) = self.record(action).await {
            let mark =
                MarkOutbound { id: row, state: OutboundState::Delivered, message_id: message_id.clone(), error: None };
            self.0.unwritten.borrow_mut().push(mark);
        }
        ActionResult { success: true, message_id, ..ActionResult::default() }
    }

    fn send(&self, action: RawJson) -> impl Future<Output = ActionResult> + use<> {
        Outbox::send(&self.0.link, self.0.target.clone(), action)
    }

    /// Waits for a ledger that accepts no writes, because it recovers by itself; `None` once the turn is to end.
    async fn record(&self, action: RawJson) -> Option<OutboundId> {
        let number = self.0.recorded.get();
        self.0.recorded.set(number + 1);
        let record = RecordOutbound {
            inbound: Some(self.0.inbound),
            turn: Some(self.0.turn),
            number: Some(number),
            target: self.0.target.clone(),
            action,
            state: OutboundState::Sending,
        };
        let mut warned = false;
        loop {
            let reason = match self.0.outbox.record(record.clone()).await {
                Ok(row) => return Some(row),
                Err(reason) => reason,
            };
            if reason == NotRecorded::Closed || self.0.is_ending.get() {
                error!(turn = %self.0.turn, %reason, "reply not written to the ledger, and not sent");
                return None;
            }
            if !std::mem::replace(&mut warned, true) {
                warn!(turn = %self.0.turn, %reason, "reply waits for the ledger");
            }
            tokio::time::sleep(LEDGER_RETRY).await;
        }
    }
}
