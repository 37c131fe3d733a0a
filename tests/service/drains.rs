//! A drain and its cancellation, over HTTP and by the marker, while a turn runs.

use std::fs;

use serde_json::json;

use crate::world::World;

#[actix_web::test]
async fn a_drain_over_http_refuses_new_turns_and_finishes_the_running_one() {
    let world = World::start().await;
    world.push("long", "sleep 3", "c1", None).await;
    world.until("a turn running", |status| status["active_agents"] == 1).await;

    let (code, begun) = world.drain(json!({"action": "drain"})).await;
    assert_eq!((code, &begun["draining"], &begun["active_agents"]), (200, &json!(true), &json!(1)), "{begun}");
    assert_eq!(world.ready().await, 503);
    world.push("refused", "hello?", "c2", None).await;
    let notice = world.until_frame("maintenance").await;
    assert!(notice.contains("c2"), "{notice}");
    let status = world.status().await;
    assert_eq!((&status["gateway_state"], &status["active_agents"]), (&json!("draining"), &json!(1)));

    world.answer("long").await;
    world.until("no turn left", |status| status["active_agents"] == 0).await;
    assert_eq!(world.agent_account(None).len(), 1, "the refused message never reached the agent");

    let (code, cancelled) = world.drain(json!({"action": "cancel"})).await;
    assert_eq!((code, &cancelled["was_draining"]), (200, &json!(true)));
    world.until("an open gate", |status| status["gateway_state"] == "running").await;
    assert_eq!(world.ready().await, 200);
    world.push("next", "hello again", "c2", None).await;
    world.answer("next").await;
}

#[actix_web::test]
async fn a_marker_drains_and_its_removal_restores_service() {
    let world = World::start().await;
    let marker = world.path(".drain_request.json");
    world.push("long", "sleep 3", "c1", None).await;
    world.until("a turn running", |status| status["active_agents"] == 1).await;

    fs::write(&marker, "").unwrap();
    world.until("a drain", |status| status["gateway_state"] == "draining").await;
    world.push("refused", "hello?", "c2", None).await;
    world.until_frame("maintenance").await;
    world.answer("long").await;

    fs::remove_file(&marker).unwrap();
    world.until("no drain", |status| status["gateway_state"] == "running").await;
    world.push("next", "hello again", "c2", None).await;
    world.answer("next").await;
}
