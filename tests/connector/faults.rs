//! The fault switches of the connector.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::gateway::{WireGateway, WireMessage, now_s, token};
use crate::support::{SOON, post, within};
use crate::{account, connector, event, push, register, set_faults};

#[actix_web::test]
async fn a_socket_is_dropped_without_or_with_a_close_frame() {
    let connector = connector();
    let credentials = register(&connector, "gw-1").await;
    let mut gateway = WireGateway::connect(&connector.url, &credentials).await;
    set_faults(&connector, json!({"drop": true})).await;
    assert!(matches!(within(SOON, "the end", gateway.receive()).await, WireMessage::Cut));
    let mut gateway = WireGateway::connect(&connector.url, &credentials).await;
    set_faults(&connector, json!({"close": {"code": 4_401, "reason": "expired"}})).await;
    assert_eq!(gateway.close().await, (4_401, "expired".to_owned()));
    // A fault that happens once does not persist.
    let mut gateway = WireGateway::connect(&connector.url, &credentials).await;
    assert_eq!(gateway.act(json!({"op": "typing", "chat_id": "c"})).await["success"], true);
}

#[actix_web::test]
async fn as_many_dials_are_refused_as_requested() {
    let connector = connector();
    let credentials = register(&connector, "gw-1").await;
    let token = token("gw-1", credentials["secret"].as_str().unwrap(), now_s() + 300);
    set_faults(&connector, json!({"refuse": {"status": 503, "times": 1}})).await;
    assert_eq!(WireGateway::try_dial(&connector.url, Some(&token)).await.err(), Some(503));
    set_faults(&connector, json!({"refuse": {"reason": "gone"}, "gatewayId": "gw-1"})).await;
    for _ in 0..2 {
        assert_eq!(WireGateway::dial(&connector.url, Some(&token)).await.close().await, (4_401, "gone".to_owned()));
    }
    set_faults(&connector, json!({"gatewayId": "gw-1"})).await;
    WireGateway::connect(&connector.url, &credentials).await;
    assert_eq!(account(&connector).await["gateways"]["gw-1"]["refused"], 3);
}

#[actix_web::test]
async fn frames_arrive_twice_or_out_of_order() {
    let connector = connector();
    let mut gateway = WireGateway::connect(&connector.url, &register(&connector, "gw-1").await).await;
    set_faults(&connector, json!({"duplicate": true})).await;
    push(&connector, json!({"event": event("m1", "hi")})).await;
    assert_eq!(gateway.frame().await, gateway.frame().await);
    set_faults(&connector, json!({"reorder": true})).await;
    for id in ["m2", "m3", "m4"] {
        push(&connector, json!({"event": event(id, "hi")})).await;
    }
    let mut order = Vec::new();
    for _ in 0..3 {
        order.push(gateway.frame().await["event"]["message_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(order, ["m3", "m2", "m4"], "the last frame is sent after a pause");
}

#[actix_web::test]
async fn a_half_open_socket_sends_nothing_and_stays_open() {
    let connector = connector();
    let credentials = register(&connector, "gw-1").await;
    let mut gateway = WireGateway::connect(&connector.url, &credentials).await;
    set_faults(&connector, json!({"halfOpen": true})).await;
    push(&connector, json!({"event": event("m1", "hi")})).await;
    gateway.ping().await;
    gateway.send_frame(&json!({"type": "going_idle"})).await;
    let received = actix_web::rt::time::timeout(Duration::from_millis(500), gateway.receive()).await;
    assert!(received.is_err(), "{received:?}");
    set_faults(&connector, json!({})).await;
    let mut gateway = WireGateway::connect(&connector.url, &credentials).await;
    assert_eq!(gateway.frame().await["event"]["message_id"], "m1", "the lost event is sent again");
}

#[actix_web::test]
async fn answers_are_late_or_missing_although_the_action_was_carried_out() {
    let connector = connector();
    let mut gateway = WireGateway::connect(&connector.url, &register(&connector, "gw-1").await).await;
    set_faults(&connector, json!({"answerLateMs": 300})).await;
    let begun = Instant::now();
    gateway.act(json!({"op": "send", "chat_id": "c1", "content": "one"})).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    set_faults(&connector, json!({"answerNever": true})).await;
    let send =
        json!({"type": "outbound", "requestId": "r", "action": {"op": "send", "chat_id": "c1", "content": "two"}});
    gateway.send_frame(&send).await;
    // Frames are handled in order, so this answer would arrive after the missing one.
    gateway.send_frame(&json!({"type": "going_idle"})).await;
    assert_eq!(gateway.frame().await["type"], "going_idle_ack");
    assert_eq!(account(&connector).await["unattributed"], 2, "both messages are in the chat");
}

#[actix_web::test]
async fn every_frame_can_be_delayed_and_keeps_its_place() {
    let connector = connector();
    let mut gateway = WireGateway::connect(&connector.url, &register(&connector, "gw-1").await).await;
    set_faults(&connector, json!({"delayMs": 200})).await;
    let begun = Instant::now();
    push(&connector, json!({"event": event("m1", "hi")})).await;
    set_faults(&connector, json!({})).await;
    push(&connector, json!({"event": event("m2", "hi")})).await;
    assert_eq!(gateway.frame().await["event"]["message_id"], "m1");
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(gateway.frame().await["event"]["message_id"], "m2");
}

#[actix_web::test]
async fn raw_text_is_written_unchanged() {
    let connector = connector();
    let mut gateway = WireGateway::connect(&connector.url, &register(&connector, "gw-1").await).await;
    push(&connector, json!({"raw": "{\"type\":\"going"})).await;
    push(&connector, json!({"raw": "_idle_ack\"}\n{}\n"})).await;
    assert_eq!(gateway.frame().await["type"], "going_idle_ack");
    assert_eq!(gateway.frame().await, json!({}));
}

#[actix_web::test]
async fn invalid_fault_switches_are_refused() {
    let connector = connector();
    let url = format!("{}/dev/faults", connector.url);
    for faults in [
        json!({"close": {"code": 1_005}}),
        json!({"close": {"code": 7}}),
        json!({"close": {"code": 4_401, "reason": "x".repeat(124)}}),
        json!({"refuse": {"status": 200}}),
        json!({"explode": true}),
    ] {
        let (status, answer) = post(&url, &faults).await;
        assert_eq!((status, &answer["error"]), (400, &json!("invalid_request")), "{faults}");
    }
    assert_eq!(post(&url, &json!({"gatewayId": "unknown"})).await.0, 404);
}
