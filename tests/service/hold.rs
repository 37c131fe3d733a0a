//! Events that are held during a drain, and turns that a drain does not affect.

use std::fs;

use serde_json::json;

use crate::support::{SOON, wait_for};
use crate::world::World;

/// Held events of three chats, in order of arrival.
const HELD: [(&str, &str); 6] = [("h1", "a"), ("h2", "b"), ("h3", "c"), ("h4", "a"), ("h5", "b"), ("h6", "c")];

#[actix_web::test]
async fn held_events_run_in_order_of_arrival_when_the_drain_is_cancelled() {
    let mut world = World::prepare().await;
    // One turn at a time, so that the agent's account is a sequence.
    world.configure("threads: {data: 1}\ndrain:\n  refused: hold\nturns:\n  max_concurrent: 1\n");
    world.serve().await;
    assert_eq!(world.drain(json!({"action": "drain"})).await.0, 200);
    hold(&world).await;
    assert_eq!(world.status().await["active_agents"], 0, "a held event is not a turn");

    assert_eq!(world.drain(json!({"action": "cancel"})).await.0, 200);
    ran_in_order(&world).await;
}

#[actix_web::test]
async fn held_events_survive_a_restart_and_a_kill_and_run_in_order_when_the_marker_is_removed() {
    let mut world = World::prepare().await;
    world.configure("threads: {data: 1}\ndrain:\n  refused: hold\nturns:\n  max_concurrent: 1\n");
    world.serve().await;
    assert_eq!(world.drain(json!({"action": "drain"})).await.0, 200);
    hold(&world).await;

    assert!(world.stop_gateway().success());
    world.serve().await;
    let held = |status: &serde_json::Value| status["turns"]["held"] == HELD.len();
    world.until("all events still held", held).await;
    world.kill_gateway();
    world.serve().await;
    let status = world.until("all events still held", held).await;
    assert_eq!((&status["gateway_state"], &status["active_agents"]), (&json!("draining"), &json!(0)), "{status}");
    assert!(world.agent_account(None).is_empty(), "the marker was read before the first turn could start");

    fs::remove_file(world.path(".drain_request.json")).unwrap();
    ran_in_order(&world).await;
}

#[actix_web::test]
async fn events_queued_before_a_start_under_a_marker_wait_for_the_end_of_the_drain() {
    let mut world = World::start().await;
    world.push("long", "sleep 30", "c1", None).await;
    world.until("a turn running", |status| status["active_agents"] == 1).await;
    world.push("queued", "and then?", "c1", None).await;
    world.until("an event in the queue", |status| status["turns"]["queued"] == 1).await;
    // A turn counts before its agent has started.
    wait_for("the agent", SOON, || async { (world.agent_account(None).len() == 1).then_some(()) }).await;
    world.kill_gateway();
    fs::write(world.path(".drain_request.json"), "").unwrap();

    world.serve().await;
    world.until("the event held", |status| status["turns"]["held"] == 1).await;
    assert_eq!(world.agent_account(None).len(), 1, "only the turn from before");
    assert!(
        !world.outbound().await.iter().any(|frame| frame.to_string().contains("maintenance")),
        "the event was not refused"
    );
    fs::remove_file(world.path(".drain_request.json")).unwrap();
    world.answer("queued").await;
}

#[actix_web::test]
async fn during_a_drain_a_message_that_interrupts_stops_no_running_turn() {
    let mut world = World::prepare().await;
    world.configure("sessions:\n  busy: interrupt\n");
    world.serve().await;
    world.push("long", "sleep 3", "c1", None).await;
    world.until("a turn running", |status| status["active_agents"] == 1).await;
    assert_eq!(world.drain(json!({"action": "drain"})).await.0, 200);
    // This must hold after a restart of the dispatcher as well.
    assert_eq!(world.fault("dispatch", json!({"fault": "panic_in_timer"})).await.0, 200);
    let restarted = |status: &serde_json::Value| {
        let children = status["actors"]["children"].as_array().unwrap();
        children
            .iter()
            .any(|child| child["path"] == "dispatch" && child["generation"] == 2 && child["state"] == "running")
    };
    world.until("the restarted dispatcher", restarted).await;
    world.push("second", "never mind", "c1", None).await;
    world.until_frame("maintenance").await;
    world.answer("long").await;
    assert!(world.until_frame("slept 3").await.contains("c1"), "the turn ended by itself");
    assert_eq!(world.agent_account(None).len(), 1);
}

#[actix_web::test]
async fn a_running_turn_can_be_steered_during_a_drain() {
    const AGENT: &str = r#"#!/bin/sh
read -r document
echo "$CADUCEUS_TURN_ID $CADUCEUS_ATTEMPT started" >> "$HERMES_HOME/account"
read -r event
case $event in
*"turn left"*) echo '{"type":"final","text":"turned left"}' ;;
*) echo '{"type":"final","text":"lost"}' ;;
esac
"#;
    let mut world = World::prepare().await;
    world.write("agent.sh", AGENT);
    let agent = world.path("agent.sh");
    world.write(
        "caduceus.yaml",
        &format!("agent:\n  backend: exec\n  command: [sh, {agent:?}]\n  reply: jsonl\nsessions:\n  busy: steer\n"),
    );
    world.serve().await;
    world.push("first", "drive", "c1", None).await;
    crate::support::wait_for("the agent at work", crate::support::SOON, || async {
        (world.agent_account(None).len() == 1).then_some(())
    })
    .await;
    assert_eq!(world.drain(json!({"action": "drain"})).await.0, 200);
    world.push("steering", "turn left", "c1", None).await;
    world.until_frame("turned left").await;
    world.until("no turn left", |status| status["active_agents"] == 0).await;
    world.push("refused", "and on?", "c1", None).await;
    world.until_frame("maintenance").await;
    assert_eq!(world.agent_account(None).len(), 1, "steering starts no turn");
}

/// Pushes all events during a drain.
async fn hold(world: &World) {
    for (done, (id, chat)) in HELD.into_iter().enumerate() {
        world.push(id, id, chat, None).await;
        // The connector forwards events that are pushed together in any order.
        world.until("one more held", |status| status["turns"]["held"] == done + 1).await;
    }
    for chat in ["a", "b", "c"] {
        let notices: Vec<String> =
            world.texts(chat).await.into_iter().filter(|text| text.contains("maintenance")).collect();
        assert!(
            notices.len() == 1 && notices[0].contains("Your message is kept"),
            "one notice, and no refusal: {notices:?}"
        );
    }
}

async fn ran_in_order(world: &World) {
    for (id, _) in HELD {
        world.answer(id).await;
    }
    let ran = world.agent_account(None);
    assert_eq!(ran.iter().map(|(_, _, text)| text.as_str()).collect::<Vec<_>>(), HELD.map(|(id, _)| id));
    assert!(ran.iter().all(|(_, attempt, _)| *attempt == 1), "a drain does not count as an attempt: {ran:?}");
}
