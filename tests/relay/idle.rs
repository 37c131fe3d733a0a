//! Going idle and waking up.

use serde_json::json;

use crate::support::{SOON, post, reserved_port, send, wait_for};
use crate::world::{World, get_with};
use crate::{credentials, text};

#[actix_web::test]
async fn events_during_idle_wake_the_gateway_and_arrive_once_in_order() {
    // A session queues at most 32.
    const CHATS: usize = 8;
    const EVENTS: usize = 20 * CHATS;
    let mut world = World::prepare().await;
    let credentials = credentials(&world).await;
    let port = reserved_port();
    world.configure(&format!("relay:\n  inbound:\n    bind: 127.0.0.1:{port}\n"));
    world.write(
        ".env",
        &format!(
            "GATEWAY_RELAY_URL={}\nGATEWAY_RELAY_ID=world\nGATEWAY_RELAY_PLATFORMS=discord\n\
             GATEWAY_RELAY_WAKE_URL=http://127.0.0.1:{port}/wake\n",
            world.connector.url
        ),
    );
    world.variable("GATEWAY_RELAY_ACCESS_TOKEN", text(&credentials, "accessToken"));
    world.variable("RUST_LOG", "info,caduceus::http=debug,caduceus_actors::relay=debug");
    world.serve().await;
    let (status, answer) = post(&world.url("/api/relay/idle"), &json!({})).await;
    assert_eq!((status, &answer["links"]), (200, &json!({"relay": "acknowledged"})), "{answer}");
    // A thread reads the log, perhaps later than the answer.
    wait_for("an idle link in the log", SOON, || async { world.gateway().log().contains("state=Idle").then_some(()) })
        .await;
    let ids: Vec<(usize, String)> = (0..EVENTS).map(|n| (n % CHATS, format!("{}-{n}", n % CHATS))).collect();
    for (chat, id) in &ids {
        world.push(id, id, &format!("c{chat}"), None).await;
    }
    for (_, id) in &ids {
        world.answer(id).await;
    }
    let ran = world.agent_account(None);
    for chat in 0..CHATS {
        let of_chat = |id: &&str| id.starts_with(&format!("{chat}-"));
        let pushed: Vec<&str> = ids.iter().map(|(_, id)| id.as_str()).filter(of_chat).collect();
        assert_eq!(ran.iter().map(|(_, _, text)| text.as_str()).filter(of_chat).collect::<Vec<_>>(), pushed);
    }
    assert!(world.gateway().log().contains("wake request"), "the connector woke the gateway");
    let account = world.account().await;
    for (_, id) in &ids {
        assert_eq!(
            (&account["events"][id]["acked"], &account["events"][id]["answered"]),
            (&json!(1), &json!(1)),
            "{id}"
        );
    }
}

#[actix_web::test]
async fn a_wake_request_needs_no_token_reveals_nothing_and_is_rate_limited() {
    let world = World::start().await;
    let foreign = [("Host", "gateway.example")];
    for request in 0..10 {
        let answer = get_with(&world.url("/wake"), &foreign).await;
        assert_eq!(answer, (204, serde_json::Value::Null), "request {request}");
    }
    assert_eq!(get_with(&world.url("/wake"), &foreign).await.0, 429);
    assert_eq!(world.status().await["relay"][0]["state"], "connected", "a connected link is not redialled");
    let refused =
        send(crate::support::client().post(world.url("/api/relay/idle")).insert_header(foreign[0]), String::new());
    assert_eq!(refused.await.0, 403, "only a wake request is allowed under any host name");
}

#[actix_web::test]
async fn going_idle_needs_the_drain_scope() {
    let mut world = World::prepare().await;
    world.variable("HERMES_DASHBOARD_DRAIN_SECRET", "kQ7vXw2mZr9TbN4cLp8sYd1fGh6jKa3eUo5iRt0WqEx");
    world.serve().await;
    assert_eq!(post(&world.url("/api/relay/idle"), &json!({})).await.0, 401);
    assert_eq!(world.status().await["relay"][0]["state"], "connected");
}
