//! Orders to a running turn: stops of every cause, its time limit, steering.

use std::time::{Duration, Instant};

use actix::Arbiter;
use caduceus_contract::json::RawJson;
use caduceus_contract::messages::ledger::OutboundState;
use caduceus_contract::messages::turn::{OPERATOR_STOPPED, SteerError, SteerTurn, StopCause, StopTurn, TurnOutcome};
use caduceus_supervision::Port;
use serde_json::json;

use super::proc::marked;
use super::support::{Fixture, TurnParams};
use super::turn::{jsonl, notice};
use super::wait::{CEILING, until};

#[actix::test]
async fn an_agent_that_exceeds_its_time_limit_is_stopped_with_all_its_processes() {
    let fixture = Fixture::with_script("setsid sleep 300 & sleep 300", "  timeout_s: 1\n");
    let (id, _) = fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    assert_eq!(notice(&fixture.stub.ended().await.outcome), "The agent took longer than 1 second and was stopped.");
    assert!(marked(&id.to_string()).is_empty());
}

#[actix::test]
async fn a_stopped_turn_ends_its_agent_and_marks_the_message_that_it_was_writing() {
    let fixture = Fixture::with_script("trap 'exit 9' TERM; echo working; sleep 300 & wait", "");
    let (id, turn) = fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    until("the first word", || (!fixture.stub.posted().is_empty()).then_some(())).await;
    Port::from(turn).tell(StopTurn { cause: StopCause::Command }).unwrap();
    assert_eq!(fixture.stub.ended().await.outcome, TurnOutcome::Stopped(StopCause::Command));
    assert_eq!(fixture.stub.posted(), ["working"]);
    assert_eq!(fixture.stub.shown(), ["working\n\n(stopped)"], "`/stop` itself is answered by the dispatcher");
    assert_eq!(fixture.stub.ledger().len(), 1, "the message in the chat is in the ledger");
    assert!(marked(&id.to_string()).is_empty());
}

#[actix::test]
async fn a_stopped_turn_closes_and_marks_its_partial_message_for_every_cause() {
    for (cause, mark, notice) in [
        (StopCause::Command, "(stopped)", None),
        (StopCause::Interrupt, "(stopped)", Some("Stopped.")),
        (StopCause::Operator, "(stopped)", Some(OPERATOR_STOPPED)),
        (StopCause::Superseded, "(stopped for a newer message)", None),
        (StopCause::Shutdown, "(stopped: the gateway is shutting down)", None),
    ] {
        let fixture = Fixture::with_script("printf 'so:\\n~~~ sh\\nls\\n'; sleep 300", "");
        let (_, turn) = fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
        until("the first word", || (!fixture.stub.posted().is_empty()).then_some(())).await;
        Port::from(turn).tell(StopTurn { cause }).unwrap();
        assert_eq!(fixture.stub.ended().await.outcome, TurnOutcome::Stopped(cause));
        let closed = format!("so:\n~~~ sh\nls\n~~~\n\n{mark}");
        let expected: Vec<String> = std::iter::once(closed).chain(notice.map(str::to_owned)).collect();
        assert_eq!(fixture.stub.shown(), expected, "{cause:?}");
        assert!(fixture.stub.ledger().values().all(|state| *state == OutboundState::Delivered), "{cause:?}");
    }
}

#[actix::test]
async fn a_turn_without_output_that_an_operator_stops_gets_a_notice_in_the_chat() {
    let fixture = Fixture::with_script("sleep 300", "");
    let (id, turn) = fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    until("the agent", || (!marked(&id.to_string()).is_empty()).then_some(())).await;
    Port::from(turn).tell(StopTurn { cause: StopCause::Operator }).unwrap();
    fixture.stub.ended().await;
    assert_eq!(fixture.stub.shown(), [OPERATOR_STOPPED]);
}

#[actix::test]
async fn an_agent_that_ignores_the_stop_is_killed_after_5_seconds() {
    let fixture = Fixture::with_script("trap '' TERM; echo up; while :; do sleep 1; done", "");
    let (id, turn) = fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    until("the first word", || (!fixture.stub.posted().is_empty()).then_some(())).await;
    let begun = Instant::now();
    Port::from(turn).tell(StopTurn { cause: StopCause::Operator }).unwrap();
    assert_eq!(fixture.stub.ended().await.outcome, TurnOutcome::Stopped(StopCause::Operator));
    let took = begun.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(9)).contains(&took), "{took:?}");
    assert!(marked(&id.to_string()).is_empty());
}

#[actix::test]
async fn an_agent_ends_with_its_turn() {
    let fixture = Fixture::with_script("setsid sleep 300 & sleep 300", "");
    let arbiter = Arbiter::new();
    let (id, _) = fixture.turn_on(&arbiter.handle(), &fixture.profile("default", &[]), TurnParams::default()).await;
    until("the agent", || (marked(&id.to_string()).len() >= 4).then_some(())).await;
    // The thread ends and drops the turn without a report.
    arbiter.stop();
    until("the end of the agent", || marked(&id.to_string()).is_empty().then_some(())).await;
    assert_eq!(fixture.gate.count(), 0);
}

#[actix::test]
async fn a_jsonl_agent_can_be_steered_and_a_text_agent_cannot() {
    let steer = SteerTurn { raw_event: RawJson::of(&json!({"text": "left"})) };
    let fixture = jsonl(
        r#"read opening; echo '{"type":"text","text":"up"}'; read event
        case "$event" in *'"type":"event","event":{"text":"left"}'*) echo '{"type":"final","text":" and steered"}';; esac"#,
    );
    let (_, turn) = fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    until("the first word", || (!fixture.stub.posted().is_empty()).then_some(())).await;
    assert_eq!(Port::from(turn).ask(steer.clone(), CEILING).await.unwrap(), Ok(()));
    assert_eq!(fixture.stub.ended().await.reply, "up and steered");

    let fixture = Fixture::with_script("echo up; sleep 300", "");
    let (_, turn) = fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    until("the first word", || (!fixture.stub.posted().is_empty()).then_some(())).await;
    let refused = Port::from(turn.clone()).ask(steer, CEILING).await.unwrap();
    assert_eq!(refused, Err(SteerError::NotSteerable));
    Port::from(turn).tell(StopTurn { cause: StopCause::Command }).unwrap();
    fixture.stub.ended().await;
}
