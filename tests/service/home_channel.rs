//! The home channel is told of start and shutdown, unless a drain asked for silence.

use serde_json::{Value, json};

use crate::world::World;

const UP: &str = "The gateway is up";
const DOWN: &str = "The gateway is going down";

#[actix_web::test]
async fn the_home_channel_is_told_of_start_and_shutdown() {
    let mut world = with_home_channel().await;
    world.serve().await;
    assert!(world.until_said(UP).await.contains("\"chat_id\":\"lobby\""));
    // A new dispatcher does not begin anew.
    assert_eq!(world.fault("dispatch", json!({"fault": "panic_in_timer"})).await.0, 200);
    world.say("after", "still there?", "c1", None).await;
    world.answer("after").await;
    assert_eq!(said(&world, UP).await, 1);

    assert_eq!(said(&world, DOWN).await, 0);
    assert!(world.stop_gateway().success());
    assert!(world.until_said(DOWN).await.contains("\"chat_id\":\"lobby\""));
    assert_eq!(said(&world, DOWN).await, 1);
}

#[actix_web::test]
async fn a_drain_that_asks_for_silence_ends_in_a_shutdown_that_is_not_announced() {
    let mut world = with_home_channel().await;
    world.serve().await;
    world.until_said(UP).await;
    assert_eq!(world.drain(json!({"suppress_notification": true})).await.0, 200);
    world.say("refused", "hello?", "c1", None).await;
    assert!(world.until_said("maintenance").await.contains("c1"), "who is served is told all the same");
    assert!(world.stop_gateway().success());
    assert_eq!(said(&world, DOWN).await, 0);
}

#[actix_web::test]
async fn silence_is_only_for_the_drain_that_asked_for_it() {
    let mut world = with_home_channel().await;
    world.serve().await;
    assert_eq!(world.drain(json!({"suppress_notification": true})).await.0, 200);
    assert_eq!(world.drain(json!({"action": "cancel"})).await.0, 200);
    // A marker of a previous boot has no say in it. It appears whole: half of one would be unreadable, and so begin a drain.
    world.write("marker.new", r#"{"epoch":"another:1","suppress_notification":true}"#);
    std::fs::rename(world.path("marker.new"), world.path(".drain_request.json")).unwrap();
    world.until("a gateway that runs", |status| status["gateway_state"] == "running").await;
    assert!(world.stop_gateway().success());
    assert_eq!(said(&world, DOWN).await, 1);
}

async fn with_home_channel() -> World {
    let world = World::prepare().await;
    world.configure("notices:\n  home: {platform: discord, chat_id: lobby}\n");
    world
}

async fn said(world: &World, words: &str) -> usize {
    world.outbound().await.iter().map(Value::to_string).filter(|frame| frame.contains(words)).count()
}
