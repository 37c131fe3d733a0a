//! Events that a gateway recovers at its start run once their link is connected, and are shown as waiting until then.

use std::fs;

use caduceus_contract::messages::ledger::InboundState;
use serde_json::{Value, json};

use crate::backlog::{Backlog, fill};
use crate::support::post;
use crate::world::World;

/// Prints more than one message of the platform holds, and less than one message of a link without a descriptor.
const TALKER: &str = r"#!/bin/sh
read -r document
i=0; while [ $i -lt 300 ]; do printf 'word%04d ' $i; i=$((i+1)); done; echo
";

#[actix_web::test]
async fn a_recovered_event_is_answered_within_the_limit_of_its_link() {
    let mut world = World::prepare().await;
    world.write("agent.sh", TALKER);
    for (prefix, state) in [("held", InboundState::Held), ("found", InboundState::Received)] {
        fill(world.home(), &Backlog { link: "relay", profile: "default", prefix, events: 1, state }).await;
    }
    world.serve().await;
    for chat in ["held0", "found0"] {
        world.until_text(chat, "word0299").await;
        let parts = world.texts(chat).await;
        assert!(parts.len() == 2 && parts.iter().all(|part| part.len() <= 2_000), "{parts:?}");
        assert_eq!(parts.join(" ").split_whitespace().count(), 300, "{parts:?}");
    }
    let status = world.until("both done", |status| status["ledger"]["inbound"]["done"] == 2).await;
    assert_eq!(status["ledger"]["outbound"]["refused"].as_u64().unwrap_or_default(), 0, "{}", status["ledger"]);
}

#[actix_web::test]
async fn events_whose_link_is_down_or_removed_wait_visibly_and_delay_no_other() {
    let mut world = World::prepare().await;
    // A link of its own, without a connector.
    let env = "GATEWAY_RELAY_URL=http://127.0.0.1:1\nGATEWAY_RELAY_ID=of-work\nGATEWAY_RELAY_SECRET=c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA\nGATEWAY_RELAY_PLATFORMS=discord\n";
    world.profile("work", env);
    let state = InboundState::Received;
    for (link, profile, prefix) in
        [("relay-work", "work", "down"), ("relay-gone", "default", "gone"), ("relay", "default", "up")]
    {
        fill(world.home(), &Backlog { link, profile, prefix, events: 1, state }).await;
    }
    world.serve().await;
    world.answer("up0").await;
    // New messages of the chat whose old event waits for a removed link are answered.
    world.push("next", "hello", "gone0", None).await;
    world.answer("next").await;
    let expected = json!({"relay-work": 1, "relay-gone": 1});
    let same = |status: &Value| status["turns"]["awaiting_link"] == expected;
    let status = world.until("two events that wait for their links", same).await;
    assert_eq!(status["turns"]["queued"], 0, "{}", status["turns"]);
    assert!(world.gateway().log().contains("wait for a link that is no longer configured"), "the log reports it");
    assert!(world.agent_account(Some("work")).is_empty(), "no turn ran without a link");

    // Once the link is connected, the events that waited for it run.
    let env = world.link_env("of-work").await;
    fs::write(world.path("profiles/work/.env"), env).unwrap();
    world.until_text("down0", "work: down0").await;
    world
        .until("only the event of the removed link waiting", |status| {
            status["turns"]["awaiting_link"] == json!({"relay-gone": 1})
        })
        .await;
}

#[actix_web::test]
async fn a_crash_that_interrupts_several_turns_of_a_chat_gives_one_notice() {
    let mut world = World::start().await;
    for user in ["ann", "bob", "eve"] {
        let mut event = World::message(user, "sleep 600", "c1", None);
        event["source"]["user_id"] = user.into();
        assert_eq!(post(&format!("{}/dev/inbound", world.connector.url), &json!({"event": event})).await.0, 202);
    }
    // A turn counts before its event is marked in the ledger.
    world.until("three turns", |status| status["ledger"]["inbound"]["running"] == 3).await;
    world.kill_gateway();
    world.serve().await;
    world.until("three interrupted", |status| status["ledger"]["inbound"]["interrupted"] == 3).await;
    world.until_text("c1", "A restart interrupted the work").await;
    // A notice is sent before its event is marked, so a second one would have arrived.
    world.push("after", "hello", "c1", None).await;
    world.answer("after").await;
    let notices = world.texts("c1").await.iter().filter(|text| text.contains("interrupted")).count();
    assert_eq!(notices, 1);
}
