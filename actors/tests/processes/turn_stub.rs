//! A stub for every actor that a turn or a profile sends to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use actix::prelude::*;
use caduceus_actors::relay::NOT_CONNECTED;
use caduceus_contract::messages::dispatch::ReplyPending;
use caduceus_contract::messages::drain::DrainChanged;
use caduceus_contract::messages::honcho::{FreshAnswer, FreshToken};
use caduceus_contract::messages::ledger::{
    HistoryEntry, LedgerError, LoadHistory, MarkOutbound, OutboundId, OutboundState, RecordOutbound,
};
use caduceus_contract::messages::relay::SendAction;
use caduceus_contract::messages::status::StatusTouched;
use caduceus_contract::messages::turn::{DispatcherNotReady, TurnEnded};
use caduceus_contract::wire::action::{Action, ActionResult};
use caduceus_contract::wire::action_result::NotSent;
use serde_json::Value;

use super::wait::until;

/// What the stub received, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TurnRecord {
    Recorded(OutboundId, Value, OutboundState),
    Sent(Value),
    Marked(OutboundId, OutboundState, Option<String>),
    Ended(TurnEnded),
}

/// The records of the stub, and the faults that it plays.
#[derive(Debug, Default)]
pub(crate) struct TurnStubState {
    pub(crate) seen: Vec<TurnRecord>,
    pub(crate) link_down: bool,
    /// Actions with content that the link refuses because its queue is full.
    pub(crate) link_full: u32,
    /// Characters of the longest text that the connector takes.
    pub(crate) takes: Option<usize>,
    /// Answers of the ledger that are refusals.
    pub(crate) ledger_refusals: u32,
    pub(crate) token: Option<&'static str>,
    /// What the ledger holds of the session, oldest first.
    pub(crate) history: Vec<HistoryEntry>,
    /// The messages in the chat by id, the last edited last.
    shown: Vec<(String, String)>,
    rows: i64,
    messages: u64,
}

/// Stands in for every actor that a turn or a profile sends to.
#[derive(Debug, Clone, Default)]
pub(crate) struct TurnStub(Arc<Mutex<TurnStubState>>);

impl TurnStub {
    pub(crate) fn state(&self) -> MutexGuard<'_, TurnStubState> {
        self.0.lock().unwrap()
    }

    /// How the turn ended, once it has.
    pub(crate) async fn ended(&self) -> TurnEnded {
        let end = || {
            self.state().seen.iter().find_map(|seen| match seen {
                TurnRecord::Ended(ended) => Some(ended.clone()),
                _ => None,
            })
        };
        until("the end of the turn", end).await
    }

    /// The actions sent, without typing indicators.
    pub(crate) fn sent(&self) -> Vec<Value> {
        let sent = |seen: &TurnRecord| match seen {
            TurnRecord::Sent(action) if action["op"] != "typing" => Some(action.clone()),
            _ => None,
        };
        self.state().seen.iter().filter_map(sent).collect()
    }

    /// The texts of the messages posted.
    pub(crate) fn posted(&self) -> Vec<String> {
        let content = |action: Value| action["content"].as_str().unwrap_or_default().to_owned();
        self.sent().into_iter().filter(|action| action["op"] == "send").map(content).collect()
    }

    /// What the chat shows at last: the accepted messages, as last edited.
    pub(crate) fn shown(&self) -> Vec<String> {
        self.state().shown.iter().map(|(_, text)| text.clone()).collect()
    }

    /// The last state of each outbound message.
    pub(crate) fn ledger(&self) -> BTreeMap<OutboundId, OutboundState> {
        let mut rows = BTreeMap::new();
        for seen in &self.state().seen {
            match seen {
                TurnRecord::Recorded(id, _, state) | TurnRecord::Marked(id, state, _) => {
                    rows.insert(*id, *state);
                }
                TurnRecord::Sent(_) | TurnRecord::Ended(_) => {}
            }
        }
        rows
    }
}

impl Actor for TurnStub {
    type Context = Context<Self>;
}

impl Handler<RecordOutbound> for TurnStub {
    type Result = Result<OutboundId, LedgerError>;

    fn handle(&mut self, record: RecordOutbound, _: &mut Self::Context) -> Self::Result {
        let mut state = self.state();
        if state.ledger_refusals > 0 {
            state.ledger_refusals -= 1;
            return Err(LedgerError::Unwritable("no space left".into()));
        }
        state.rows += 1;
        let id = OutboundId(state.rows);
        state.seen.push(TurnRecord::Recorded(id, serde_json::from_str(record.action.get()).unwrap(), record.state));
        Ok(id)
    }
}

impl Handler<MarkOutbound> for TurnStub {
    type Result = Result<(), LedgerError>;

    fn handle(&mut self, mark: MarkOutbound, _: &mut Self::Context) -> Self::Result {
        self.state().seen.push(TurnRecord::Marked(mark.id, mark.state, mark.error));
        Ok(())
    }
}

impl Handler<SendAction> for TurnStub {
    type Result = MessageResult<SendAction>;

    fn handle(&mut self, send: SendAction, _: &mut Self::Context) -> Self::Result {
        let mut state = self.state();
        let value = serde_json::from_str(send.action.get()).unwrap();
        let action = Action::parse(&value).unwrap();
        state.seen.push(TurnRecord::Sent(value));
        if state.link_down {
            return MessageResult(ActionResult::not_sent(NotSent::NoLink, NOT_CONNECTED));
        }
        if action.content().is_some() && state.link_full > 0 {
            state.link_full -= 1;
            return MessageResult(ActionResult::not_sent(NotSent::QueueFull, "any text"));
        }
        let length = action.content().map_or(0, |content| content.chars().count());
        if state.takes.is_some_and(|most| length > most) {
            return MessageResult(ActionResult::failed("message too long"));
        }
        state.messages += 1;
        let message_id = match &action {
            Action::Edit { message_id, .. } => message_id.clone(),
            _ => format!("m{}", state.messages),
        };
        if let Some(text) = action.content() {
            state.shown.retain(|(name, _)| *name != message_id || !matches!(action, Action::Edit { .. }));
            state.shown.push((message_id.clone(), text.to_owned()));
        }
        MessageResult(ActionResult { success: true, message_id: Some(message_id), ..ActionResult::default() })
    }
}

impl Handler<LoadHistory> for TurnStub {
    type Result = Result<Vec<HistoryEntry>, LedgerError>;

    fn handle(&mut self, question: LoadHistory, _: &mut Self::Context) -> Self::Result {
        let state = self.state();
        Ok(state.history[state.history.len().saturating_sub(question.limit)..].to_vec())
    }
}

impl Handler<TurnEnded> for TurnStub {
    type Result = Result<(), DispatcherNotReady>;

    fn handle(&mut self, ended: TurnEnded, _: &mut Self::Context) -> Self::Result {
        let mut state = self.state();
        for reply in &ended.replies {
            state.seen.push(TurnRecord::Marked(reply.id, reply.state, reply.error.clone()));
        }
        state.seen.push(TurnRecord::Ended(ended));
        Ok(())
    }
}

impl Handler<ReplyPending> for TurnStub {
    type Result = ();

    fn handle(&mut self, _: ReplyPending, _: &mut Self::Context) {}
}

impl Handler<FreshToken> for TurnStub {
    type Result = MessageResult<FreshToken>;

    fn handle(&mut self, _: FreshToken, _: &mut Self::Context) -> Self::Result {
        let token = self.state().token;
        MessageResult(Ok(token.map(|token| FreshAnswer { token: token.into(), refreshed: false })))
    }
}

impl Handler<StatusTouched> for TurnStub {
    type Result = ();

    fn handle(&mut self, _: StatusTouched, _: &mut Self::Context) {}
}

impl Handler<DrainChanged> for TurnStub {
    type Result = ();

    fn handle(&mut self, _: DrainChanged, _: &mut Self::Context) {}
}
