//! A reply that the gateway gives up is reported: to its chat, in the log and in the status.

use caduceus_contract::messages::ledger::{InboundState, OutboundState};
use serde_json::json;

use crate::backlog::{Backlog, OldReply, add_reply, fill};
use crate::world::World;

/// Sent four times without a result.
const TRIED: [OutboundState; 5] = [
    OutboundState::Sending,
    OutboundState::Sending,
    OutboundState::Sending,
    OutboundState::Sending,
    OutboundState::Ambiguous,
];

#[actix_web::test]
async fn the_chat_of_replies_that_were_sent_too_often_gets_one_notice_and_a_notice_causes_none() {
    let mut world = World::prepare().await;
    let done = Backlog { link: "relay", profile: "default", prefix: "done", events: 1, state: InboundState::Done };
    fill(world.home(), &done).await;
    for (chat, inbound) in [("a", Some(1)), ("a", Some(1)), ("b", Some(1)), ("c", None)] {
        let reply = OldReply { chat, text: "lost", inbound, states: &TRIED, error: None };
        add_reply(world.home(), &reply).await;
    }
    world.serve().await;
    let given_up = |status: &serde_json::Value| {
        status["turns"]["dropped"]["replies"] == 4 && status["ledger"]["outbound"] == json!({"dead": 4, "delivered": 2})
    };
    let status = world.until("replies that were given up, and two notices", given_up).await;
    assert_eq!(status["turns"]["dropped"], json!({"events": 0, "notices": 0, "replies": 4}));
    for (chat, notices) in [("a", 1), ("b", 1), ("c", 0)] {
        let texts = world.texts(chat).await;
        assert_eq!(texts.iter().filter(|text| text.contains("could not be delivered")).count(), notices, "{texts:?}");
        assert_eq!(texts.len(), notices, "nothing else is sent: {texts:?}");
    }
    assert_eq!(world.gateway().log().matches("reply given up").count(), 4);

    // The notices are on disk as delivered: a restart repeats none.
    world.stop_gateway();
    world.serve().await;
    world.push("m1", "hello", "d", None).await;
    world.answer("m1").await;
    assert_eq!(world.texts("a").await.len(), 1);
}
