//! With `drain.refused: notice` each chat gets one notice after the drain, with the number of its unread messages.

use std::fs;

use serde_json::json;

use crate::support::post;
use crate::world::World;

async fn world() -> World {
    let mut world = World::prepare().await;
    world.configure("drain:\n  refused: notice\n");
    world.serve().await;
    world
}

/// Pushes three messages of two users in one chat and one in another, which are refused.
async fn refuse(world: &World, round: usize) {
    for (number, (chat, user)) in [("c1", "ann"), ("c1", "ann"), ("c1", "bob"), ("c2", "ann")].into_iter().enumerate() {
        let mut event = World::message(&format!("r{round}-{number}"), "hello?", chat, None);
        event["source"]["user_id"] = user.into();
        assert_eq!(post(&format!("{}/dev/inbound", world.connector.url), &json!({"event": event})).await.0, 202);
    }
    world.until("four refused", |status| status["ledger"]["inbound"]["refused"] == 4 * round).await;
}

async fn count(world: &World, chat: &str, words: &str) -> usize {
    world.texts(chat).await.iter().filter(|text| text.contains(words)).count()
}

#[actix_web::test]
async fn each_chat_gets_one_notice_after_the_drain_with_the_number_of_unread_messages() {
    let world = world().await;
    assert_eq!(world.drain(json!({})).await.0, 200);
    refuse(&world, 1).await;
    world.until_text("c1", "send your message again").await;
    world.until_text("c2", "send your message again").await;
    assert_eq!(count(&world, "c1", "not read").await, 0, "the drain is on");

    assert_eq!(world.drain(json!({"action": "cancel"})).await.0, 200);
    world.until_text("c1", "3 messages sent here meanwhile were not read").await;
    world.until_text("c2", "1 message sent here meanwhile was not read").await;
    assert_eq!(count(&world, "c1", "send your message again").await, 1, "one notice for each chat and minute");
    let lines = world.gateway().log().lines().filter(|line| line.contains("event refused")).count();
    assert_eq!(lines, 4, "each refusal is in the log");

    // A drain that ends by its deadline sends notices too, only of its own messages.
    assert_eq!(world.drain(json!({"deadline_s": 2})).await.0, 200);
    refuse(&world, 2).await;
    for (chat, times) in [("c1", 2), ("c2", 2)] {
        crate::support::wait_for("another notice in the chat", crate::support::SOON, || async {
            (count(&world, chat, "not read").await == times).then_some(())
        })
        .await;
    }
    let notices = world.texts("c1").await;
    assert!(
        notices.iter().filter(|text| text.contains("not read")).all(|text| text.contains("3 messages")),
        "{notices:?}"
    );
}

#[actix_web::test]
async fn the_count_survives_a_restart_of_the_process() {
    let mut world = world().await;
    assert_eq!(world.drain(json!({})).await.0, 200);
    refuse(&world, 1).await;
    world.kill_gateway();
    // Still drained: the notice comes later.
    world.serve().await;
    world.until("the drain", |status| status["gateway_state"] == "draining").await;
    assert_eq!(count(&world, "c1", "not read").await, 0);
    world.kill_gateway();
    fs::remove_file(world.path(".drain_request.json")).unwrap();
    world.serve().await;
    world.until_text("c1", "3 messages sent here meanwhile were not read").await;
    world.until_text("c2", "1 message sent here meanwhile was not read").await;
    assert!(world.stop_gateway().success());
    world.serve().await;
    world.push("after", "hello", "c1", None).await;
    world.answer("after").await;
    assert_eq!((count(&world, "c1", "not read").await, count(&world, "c2", "not read").await), (1, 1), "once");
}

#[actix_web::test]
async fn by_default_a_message_during_a_drain_is_kept_and_its_chat_gets_one_notice_a_minute() {
    let world = World::start().await;
    assert_eq!(world.drain(json!({})).await.0, 200);
    for number in 1..=3 {
        world.push(&format!("m{number}"), "hello", "c1", None).await;
    }
    world.until("three held", |status| status["turns"]["held"] == 3).await;
    world.until_text("c1", "Your message is kept").await;
    assert_eq!(world.drain(json!({"action": "cancel"})).await.0, 200);
    for number in 1..=3 {
        world.answer(&format!("m{number}")).await;
    }
    assert_eq!(count(&world, "c1", "Your message is kept").await, 1);
    assert_eq!(count(&world, "c1", "not read").await, 0);
}
