//! Whether an operator may have an event run again, or a reply sent again: one decision for a gateway that runs and for a file without one.
//!
//! Without I/O, and without a clock. The dispatcher alone has what waits and runs in this process, and asks that first.

use serde_json::Value;

use caduceus_contract::api::ledger::{RowId, RowState};
use caduceus_contract::api::ledger_changes::RowRefusal;
use caduceus_contract::json::RawJson;
use caduceus_contract::link::Target;
use caduceus_contract::messages::ledger::{
    DEAD_LETTER, ERASED, InboundRow, InboundState, OutboundId, OutboundRow, OutboundState,
};
use caduceus_contract::messages::ledger_control::{FinishedRows, LedgerHolder, RecordRetry};
use caduceus_contract::wire::action::Action;
use caduceus_contract::wire::chat_command::ChatCommand;
use caduceus_contract::wire::event::RELAY;
use caduceus_contract::wire::received_event::ReceivedEvent;

/// Decides about an event.
///
/// # Errors
/// [`RowRefusal`]. [`RowRefusal::Waits`] of an event that waits nowhere but in the ledger is for the dispatcher to queue.
pub(crate) fn decide_event(order: &RecordRetry, row: &InboundRow) -> Result<(), RowRefusal> {
    let (id, was) = (order.id, RowState::from(row.state));
    if row.state == InboundState::Running && order.holder == LedgerHolder::Gateway {
        return Err(RowRefusal::Runs(id, row.turn));
    }
    if !order.links.contains(&row.target.link) {
        return Err(RowRefusal::NoLink(id, row.target.link.0.to_string()));
    }
    if matches!(row.state, InboundState::Received | InboundState::Held) {
        return Err(RowRefusal::Waits(id, was));
    }
    if row.event == ERASED {
        return Err(RowRefusal::Erased(id));
    }
    let Some(text) = text_of(&row.target, &row.event) else { return Err(RowRefusal::Unreadable(id)) };
    if ChatCommand::parse(&text).is_some() {
        return Err(RowRefusal::Command(id));
    }
    match row.state {
        InboundState::Done if order.finished == FinishedRows::Refuse => Err(RowRefusal::Done(id, was)),
        InboundState::Received
        | InboundState::Held
        | InboundState::Running
        | InboundState::Done
        | InboundState::Failed
        | InboundState::Interrupted
        | InboundState::Refused
        | InboundState::Dead => Ok(()),
    }
}

/// What an event says, if an agent can read it: `None` of a frame that could not be used.
fn text_of(target: &Target, event: &str) -> Option<String> {
    let is_letter = || serde_json::from_str::<Value>(event).is_ok_and(|value| value.get(DEAD_LETTER).is_some());
    if target.platform == RELAY && is_letter() {
        return None;
    }
    let ReceivedEvent { event, .. } = ReceivedEvent::read(RawJson::try_from(event.to_owned()).ok()?).ok()?;
    Some(event.text.clone())
}

/// Decides about a reply. Returns the action that is sent again.
///
/// # Errors
/// [`RowRefusal`].
pub(crate) fn decide_reply(
    order: &RecordRetry,
    row: OutboundRow,
    sent_again_as: Option<OutboundId>,
) -> Result<RawJson, RowRefusal> {
    let (id, was) = (order.id, RowState::from(row.state));
    match row.state {
        OutboundState::Pending | OutboundState::Sending | OutboundState::Ambiguous => {
            return Err(RowRefusal::Waits(id, was));
        }
        OutboundState::Delivered if order.finished == FinishedRows::Refuse => return Err(RowRefusal::Done(id, was)),
        OutboundState::Delivered | OutboundState::Refused | OutboundState::Dead => {}
    }
    if let Some(again) = sent_again_as {
        return Err(RowRefusal::SentAgain(id, RowId::Reply(again)));
    }
    if row.action == ERASED {
        return Err(RowRefusal::Erased(id));
    }
    let is_action = serde_json::from_str::<Value>(&row.action).is_ok_and(|value| Action::parse(&value).is_ok());
    let action = RawJson::try_from(row.action).ok().filter(|_| is_action);
    action.ok_or(RowRefusal::Unreadable(id))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use caduceus_contract::link::LinkId;
    use caduceus_contract::messages::ledger::InboundId;
    use caduceus_contract::profile_name::ProfileName;
    use caduceus_contract::wire::event::Source;
    use caduceus_contract::wire::session::{SessionKey, SessionRules};

    fn target(link: LinkId, platform: &str) -> Arc<Target> {
        Arc::new(Target {
            link,
            platform: platform.to_owned(),
            bot_id: None,
            chat_id: "c".to_owned(),
            scope_id: None,
            user_id: None,
            thread_id: None,
        })
    }

    fn event(text: &str, state: InboundState) -> InboundRow {
        let profile = ProfileName::default_profile();
        InboundRow {
            id: InboundId(1),
            target: target(LinkId::process(), "slack"),
            session: SessionKey::new(&Source::default(), &profile, SessionRules::default()),
            profile,
            event: json!({"text": text, "source": {"platform": "slack", "chat_id": "c"}}).to_string(),
            state,
            attempts: 1,
            turn: None,
            received_at_ms: 0,
        }
    }

    fn reply(action: &Value, state: OutboundState) -> OutboundRow {
        OutboundRow {
            id: OutboundId(1),
            inbound: None,
            target: target(LinkId("relay-gone".into()), "slack"),
            action: action.to_string(),
            state,
            attempts: 1,
            recorded_at_ms: 0,
        }
    }

    fn order(id: RowId) -> RecordRetry {
        let (finished, holder) = (FinishedRows::Refuse, LedgerHolder::Gateway);
        RecordRetry { id, finished, holder, links: Arc::new([LinkId::process()].into()) }
    }

    /// The refusal beside a gateway and of a file alike, or another one of each.
    fn refusals(row: &InboundRow, finished: FinishedRows) -> [Option<RowRefusal>; 2] {
        [LedgerHolder::Gateway, LedgerHolder::Command].map(|holder| {
            let order = RecordRetry { finished, holder, ..order(RowId::Event(row.id)) };
            decide_event(&order, row).err()
        })
    }

    #[test]
    fn an_event_that_ended_runs_again_and_one_that_waits_runs_or_is_done_does_not() {
        let id = RowId::Event(InboundId(1));
        let ended = [InboundState::Failed, InboundState::Interrupted, InboundState::Refused, InboundState::Dead];
        for state in ended {
            assert_eq!(refusals(&event("hi", state), FinishedRows::Refuse), [None, None], "{state:?}");
        }
        for state in [InboundState::Received, InboundState::Held] {
            let waits = Some(RowRefusal::Waits(id, state.into()));
            assert_eq!(refusals(&event("hi", state), FinishedRows::Repeat), [waits.clone(), waits], "{state:?}");
        }
        let done = Some(RowRefusal::Done(id, RowState::Done));
        assert_eq!(refusals(&event("hi", InboundState::Done), FinishedRows::Refuse), [done.clone(), done]);
        assert_eq!(refusals(&event("hi", InboundState::Done), FinishedRows::Repeat), [None, None]);
        // Without a gateway no turn runs.
        let runs = [Some(RowRefusal::Runs(id, None)), None];
        assert_eq!(refusals(&event("hi", InboundState::Running), FinishedRows::Refuse), runs);
    }

    #[test]
    fn what_no_agent_can_run_is_refused_beside_a_gateway_and_of_a_file_alike() {
        let id = RowId::Event(InboundId(1));
        let of = |event_text: &str| InboundRow { event: event_text.to_owned(), ..event("", InboundState::Dead) };
        let letter = json!({"dead_letter": {}, "text": "hi", "source": {"chat_id": "c"}}).to_string();
        let letter = InboundRow { target: target(LinkId::process(), RELAY), ..of(&letter) };
        let gone =
            InboundRow { target: target(LinkId("relay-gone".into()), "slack"), ..event("hi", InboundState::Held) };
        for (row, refusal) in [
            (event("/stop", InboundState::Failed), RowRefusal::Command(id)),
            (event(" /retry@bot", InboundState::Done), RowRefusal::Command(id)),
            (event("/status", InboundState::Refused), RowRefusal::Command(id)),
            (of(ERASED), RowRefusal::Erased(id)),
            (of("no JSON"), RowRefusal::Unreadable(id)),
            (of("[]"), RowRefusal::Unreadable(id)),
            (letter, RowRefusal::Unreadable(id)),
            (gone, RowRefusal::NoLink(id, "relay-gone".to_owned())),
        ] {
            for finished in [FinishedRows::Refuse, FinishedRows::Repeat] {
                assert_eq!(refusals(&row, finished), [Some(refusal.clone()), Some(refusal.clone())], "{}", row.event);
            }
        }
        assert_eq!(refusals(&event("please /stop", InboundState::Failed), FinishedRows::Refuse), [None, None]);
    }

    #[test]
    fn a_reply_that_ended_is_sent_again_once_whether_or_not_its_link_is_configured() {
        let (id, send) = (RowId::Reply(OutboundId(1)), json!({"op": "send", "chat_id": "c", "content": "hi"}));
        let decide = |row, again, finished| decide_reply(&RecordRetry { finished, ..order(id) }, row, again);
        for state in [OutboundState::Refused, OutboundState::Dead] {
            assert_eq!(decide(reply(&send, state), None, FinishedRows::Refuse).unwrap().get(), send.to_string());
        }
        for state in [OutboundState::Pending, OutboundState::Sending, OutboundState::Ambiguous] {
            assert_eq!(
                decide(reply(&send, state), None, FinishedRows::Repeat),
                Err(RowRefusal::Waits(id, state.into()))
            );
        }
        let delivered = || reply(&send, OutboundState::Delivered);
        assert_eq!(decide(delivered(), None, FinishedRows::Refuse), Err(RowRefusal::Done(id, RowState::Delivered)));
        assert!(decide(delivered(), None, FinishedRows::Repeat).is_ok());
        let (dead, again) = (|action: &Value| reply(action, OutboundState::Dead), OutboundId(7));
        let refused = Err(RowRefusal::SentAgain(id, RowId::Reply(again)));
        assert_eq!(decide(dead(&send), Some(again), FinishedRows::Repeat), refused);
        assert_eq!(decide(dead(&json!({"erased": true})), None, FinishedRows::Repeat), Err(RowRefusal::Erased(id)));
        assert_eq!(decide(dead(&json!(["send"])), None, FinishedRows::Repeat), Err(RowRefusal::Unreadable(id)));
    }
}
