//! Start and shutdown are announced in the home channel, unless a drain suppresses it.

use serde_json::{Value, json};

use crate::world::World;

const UP: &str = "The gateway is up";
const DOWN: &str = "The gateway is shutting down";

#[actix_web::test]
async fn start_and_shutdown_are_announced_in_the_home_channel() {
    let mut world = with_home_channel().await;
    world.serve().await;
    assert!(world.until_frame(UP).await.contains("\"chat_id\":\"lobby\""));
    // A restarted dispatcher does not repeat the announcement.
    assert_eq!(world.fault("dispatch", json!({"fault": "panic_in_timer"})).await.0, 200);
    world.push("after", "still there?", "c1", None).await;
    world.answer("after").await;
    assert_eq!(announcements(&world, UP).await, 1);

    assert_eq!(announcements(&world, DOWN).await, 0);
    assert!(world.stop_gateway().success());
    assert!(world.until_frame(DOWN).await.contains("\"chat_id\":\"lobby\""));
    assert_eq!(announcements(&world, DOWN).await, 1);
}

#[actix_web::test]
async fn a_drain_with_suppressed_notification_ends_in_a_shutdown_without_announcement() {
    let mut world = with_home_channel().await;
    world.serve().await;
    world.until_frame(UP).await;
    assert_eq!(world.drain(json!({"suppress_notification": true})).await.0, 200);
    world.push("refused", "hello?", "c1", None).await;
    assert!(world.until_frame("maintenance").await.contains("c1"), "a chat with a message still gets its notice");
    assert!(world.stop_gateway().success());
    assert_eq!(announcements(&world, DOWN).await, 0);
}

#[actix_web::test]
async fn suppression_applies_only_to_the_drain_that_requests_it() {
    let mut world = with_home_channel().await;
    world.serve().await;
    assert_eq!(world.drain(json!({"suppress_notification": true})).await.0, 200);
    assert_eq!(world.drain(json!({"action": "cancel"})).await.0, 200);
    // A marker of a previous boot has no effect. It is renamed into place: half a marker would be unreadable and begin a drain.
    world.write("marker.new", r#"{"epoch":"another:1","suppress_notification":true}"#);
    std::fs::rename(world.path("marker.new"), world.path(".drain_request.json")).unwrap();
    world.until("a running gateway", |status| status["gateway_state"] == "running").await;
    assert!(world.stop_gateway().success());
    assert_eq!(announcements(&world, DOWN).await, 1);
}

async fn with_home_channel() -> World {
    let world = World::prepare().await;
    world.configure("notices:\n  home: {platform: discord, chat_id: lobby}\n");
    world
}

async fn announcements(world: &World, words: &str) -> usize {
    world.outbound().await.iter().map(Value::to_string).filter(|frame| frame.contains(words)).count()
}
