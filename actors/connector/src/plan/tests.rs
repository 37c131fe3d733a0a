use serde_json::{Value, json};

use super::buffer::WINDOW;
use super::*;
use crate::inbound::{Push, Pushed};
use crate::saved::BUFFER_LIMIT;

/// A plan with one gateway, `gw`.
fn plan() -> ConnectorPlan {
    let mut plan = ConnectorPlan::new(SavedState::default(), false);
    plan.register(Some("gw".to_owned()), 0).unwrap();
    plan
}

#[test]
fn the_plan_is_a_value() {
    fn assert_value<T: Clone + std::hash::Hash + Eq>(_: &T) {}
    let (mut plan, mut other) = (plan(), ConnectorPlan::default());
    assert_value(&plan);
    assert!(plan != other);
    other.clone_from(&plan);
    let secret = |plan: &mut ConnectorPlan| plan.rotate("gw", 0, 0).unwrap().secret;
    assert_eq!(secret(&mut plan), secret(&mut other), "a decision depends on the plan and on the event only");
    assert!(plan == other);
}

fn connect(plan: &mut ConnectorPlan, connection: u64) -> Vec<ConnectorStep> {
    plan.opened(connection, "gw", 0);
    plan.received(connection, r#"{"type":"hello","platform":"discord","botId":"b"}"#, 0)
}

fn push(plan: &mut ConnectorPlan, message_id: &str, now_ms: i64) -> (Pushed, Vec<ConnectorStep>) {
    let event = json!({"message_id": message_id, "source": {"chat_id": "c"}});
    plan.push(None, Push::Event { event, buffer_id: Some(message_id.to_owned()), live: false }, now_ms).unwrap()
}

fn acknowledge(plan: &mut ConnectorPlan, connection: u64, buffer_id: &str) -> Vec<ConnectorStep> {
    plan.received(connection, &json!({"type": "inbound_ack", "bufferId": buffer_id}).to_string(), 0)
}

/// Buffer ids of what is written to a connection, in order.
fn written(steps: &[ConnectorStep], to: u64) -> Vec<String> {
    let line = |step: &ConnectorStep| match step {
        ConnectorStep::Write { connection, text, .. } if *connection == to => Some(text.clone()),
        _ => None,
    };
    let frame = |text: String| serde_json::from_str::<Value>(&text).unwrap()["bufferId"].as_str().map(str::to_owned);
    steps.iter().filter_map(line).filter_map(frame).collect()
}

#[test]
fn an_entry_leaves_only_with_its_acknowledgement() {
    let mut plan = plan();
    push(&mut plan, "a", 0);
    push(&mut plan, "b", 0);
    assert_eq!(written(&connect(&mut plan, 1), 1), ["a", "b"]);
    assert!(written(&acknowledge(&mut plan, 1, "a"), 1).is_empty(), "b is on its way already");
    acknowledge(&mut plan, 1, "unknown");
    plan.closed(1, "gw", 0);
    assert_eq!(written(&connect(&mut plan, 2), 2), ["b"]);
    acknowledge(&mut plan, 2, "b");
    assert!(written(&connect(&mut plan, 3), 3).is_empty());
}

#[test]
fn a_gateway_that_does_not_acknowledge_gets_a_window_and_no_more() {
    let mut plan = plan();
    connect(&mut plan, 1);
    for number in 0..WINDOW {
        assert_eq!(push(&mut plan, &number.to_string(), 0).0.delivered, 1);
    }
    assert_eq!(push(&mut plan, "next", 0).0.delivered, 0);
    assert_eq!(written(&acknowledge(&mut plan, 1, "0"), 1), ["next"]);
}

#[test]
fn a_full_buffer_takes_nothing_more() {
    let mut plan = plan();
    for number in 0..BUFFER_LIMIT {
        push(&mut plan, &number.to_string(), 0);
    }
    let push = Push::Event { event: json!({}), buffer_id: None, live: false };
    assert_eq!(plan.push(None, push, 0).unwrap_err(), PushError::Full);
}

#[test]
fn a_superseded_connection_is_heard_no_more() {
    let mut plan = plan();
    connect(&mut plan, 1);
    push(&mut plan, "a", 0);
    let steps = plan.opened(2, "gw", 0);
    let close = ConnectorStep::Close { connection: 1, code: SUPERSEDED_CODE, reason: "superseded".to_owned() };
    assert!(steps.contains(&close));
    assert!(acknowledge(&mut plan, 1, "a").is_empty());
    plan.closed(1, "gw", 0);
    let hello = plan.received(2, r#"{"type":"hello","platform":"discord"}"#, 0);
    assert_eq!(written(&hello, 2), ["a"], "its end does not end the newer one");
}

#[test]
fn a_gateway_that_is_away_is_woken_once_a_minute() {
    let mut plan = plan();
    let access = plan.register(Some("gw".to_owned()), 0).unwrap().access_token;
    let asked = json!({"gatewayId": "gw", "platform": "discord", "wakeUrl": "http://wake"});
    plan.provision(Some(&access), serde_json::from_value(asked).unwrap(), 0).unwrap();
    let wakes = |steps: &[ConnectorStep]| steps.contains(&ConnectorStep::Wake { url: "http://wake".to_owned() });
    assert!(wakes(&push(&mut plan, "a", 1_000).1));
    assert!(!wakes(&push(&mut plan, "b", 60_999).1));
    assert!(wakes(&push(&mut plan, "c", 61_000).1));
    connect(&mut plan, 1);
    assert!(!wakes(&push(&mut plan, "d", 999_999).1), "it is awake");
}

#[test]
fn ids_never_come_twice() {
    let mut ids = MessageIds::default();
    let first = ids.next(5);
    assert_ne!(first, ids.next(5));
    assert_ne!(first, ids.next(4), "the clock may step back");
}

#[test]
fn an_unnamed_gateway_must_be_the_only_one_meant() {
    let mut plan = plan();
    plan.register(Some("other".to_owned()), 0).unwrap();
    let interrupt = || Push::Interrupt { session_key: "s".to_owned(), chat_id: String::new() };
    assert_eq!(plan.push(None, interrupt(), 0).unwrap_err(), PushError::Ambiguous);
    assert_eq!(plan.push(Some("nobody"), interrupt(), 0).unwrap_err(), PushError::Unknown);
    connect(&mut plan, 1);
    assert_eq!(plan.push(None, interrupt(), 0).unwrap().0.delivered, 1, "one is connected");
    assert_eq!(ConnectorPlan::default().push(None, interrupt(), 0).unwrap_err(), PushError::Unknown);
}
