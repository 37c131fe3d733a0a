//! The protocol on the relay socket.

use awc::ws::Message;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::gateway::{WireGateway, WireMessage, now_s, token};
use crate::support::{Process, SOON, wait_for, within};
use crate::{account, connector, event, push, register};

#[actix_web::test]
async fn each_hello_gets_the_descriptor_of_its_platform() {
    let connector = connector();
    let credentials = register(&connector, "gw-1").await;
    let secret = credentials["secret"].as_str().unwrap();
    let mut gateway = WireGateway::dial(&connector.url, Some(&token("gw-1", secret, 0))).await;
    // Two lines in one message, then one in two.
    gateway.write("{\"type\":\"hello\",\"platform\":\"discord\",\"botId\":\"b\"}\n{\"type\":\"hello\",\"platform\":\"telegram\"}\n{\"type\":").await;
    gateway.write("\"hello\",\"platform\":\"relay\",\"botId\":\"\"}\n").await;
    let mut shapes = Vec::new();
    for _ in 0..3 {
        let frame = gateway.frame().await;
        let descriptor = &frame["descriptor"];
        assert_eq!(frame["type"], "descriptor");
        shapes.push(format!(
            "{} {} {} {}",
            descriptor["platform"].as_str().unwrap(),
            descriptor["max_message_length"],
            descriptor["len_unit"].as_str().unwrap(),
            descriptor["supports_threads"]
        ));
    }
    assert_eq!(shapes, ["discord 2000 chars true", "telegram 4096 utf16 false", "relay 4096 chars false"]);
}

#[actix_web::test]
async fn refused_dials_are_closed_with_4401_and_the_reason() {
    let connector = connector();
    let credentials = register(&connector, "gw-1").await;
    let secret = credentials["secret"].as_str().unwrap();
    let cases = [
        (None, "unauthorized"),
        (Some("rubbish".to_owned()), "unauthorized"),
        (Some(token("gw-1", "another secret", 0)), "unauthorized"),
        (Some(token("gw-2", secret, 0)), "unauthorized"),
        (Some(token("gw-1", secret, now_s() - 60)), "expired"),
    ];
    for (token, reason) in cases {
        let mut gateway = WireGateway::dial(&connector.url, token.as_deref()).await;
        assert_eq!(gateway.close().await, (4_401, reason.to_owned()), "{token:?}");
    }
}

#[actix_web::test]
async fn an_open_connector_accepts_a_gateway_without_a_token() {
    let connector = Process::start(&["connector", "--bind", "127.0.0.1:0", "--open"]);
    let mut gateway = WireGateway::dial(&connector.url, None).await;
    gateway.send_frame(&json!({"type": "hello", "platform": "relay", "botId": ""})).await;
    assert_eq!(gateway.frame().await["descriptor"]["max_message_length"], 4_096);
    push(&connector, json!({"event": event("m1", "hi")})).await;
    assert_eq!(gateway.frame().await["event"]["text"], "hi");
}

#[actix_web::test]
async fn every_action_of_the_contract_is_carried_out() {
    let connector = connector();
    let mut gateway = WireGateway::connect(&connector.url, &register(&connector, "gw-1").await).await;
    push(&connector, json!({"event": event("m1", "hi")})).await;
    assert_eq!(gateway.frame().await["event"]["message_id"], "m1");

    let sent = gateway.act(json!({"op": "send", "chat_id": "c1", "content": "hello", "reply_to": "m1"})).await;
    let message_id = sent["message_id"].as_str().expect("a sent message has an id");
    let succeeding = [
        json!({"op": "edit", "chat_id": "c1", "message_id": message_id, "content": "hello again"}),
        json!({"op": "typing", "chat_id": "c1"}),
        json!({"op": "react", "chat_id": "c1", "message_id": "m1", "emoji": "👍"}),
        json!({"op": "react", "chat_id": "c1", "message_id": "m1", "emoji": "👍", "remove": true}),
        json!({"op": "send_media", "chat_id": "c1", "media_kind": "image", "source_url": "https://x.example/a.png"}),
        json!({"op": "prompt", "chat_id": "c1", "prompt_kind": "approval", "prompt_id": "p1", "content": "Sure?",
               "options": [{"id": "y", "label": "Yes"}]}),
    ];
    for action in succeeding {
        let result = gateway.act(action.clone()).await;
        assert_eq!(result["success"], true, "{action} {result}");
    }
    let thread = gateway.act(json!({"op": "thread_create", "chat_id": "c1", "thread_name": "one"})).await;
    let rename = json!({"op": "thread_rename", "chat_id": "c1", "message_id": thread["thread_id"],
                        "thread_name": "two", "only_if_current_name": "one"});
    assert_eq!(gateway.act(rename.clone()).await["success"], true);
    let info = gateway.act(json!({"op": "get_chat_info", "chat_id": "c1"})).await;
    assert_eq!(info["chat_info"]["type"], "channel");

    let failing = [
        json!({"op": "send", "chat_id": "c1", "content": "x".repeat(2_001)}),
        json!({"op": "send", "chat_id": "c1", "content": ""}),
        json!({"op": "send", "content": "x"}),
        json!({"op": "edit", "chat_id": "c1", "message_id": "unknown", "content": "x"}),
        json!({"op": "edit", "chat_id": "c1", "message_id": "m1", "content": "not the agent's"}),
        json!({"op": "follow_up", "session_key": "agent:main:relay:dm:1", "kind": "discord.interaction_token", "content": "x"}),
        json!({"op": "fly", "chat_id": "c1"}),
        json!({"op": "prompt", "chat_id": "c1", "prompt_id": "p", "content": "?", "options": []}),
        rename,
    ];
    for action in failing {
        let result = gateway.act(action.clone()).await;
        assert_eq!(result["success"], false, "{action} {result}");
        assert!(result["error"].as_str().is_some_and(|error| !error.is_empty()), "{action} {result}");
    }
}

#[actix_web::test]
async fn a_reply_is_sent_only_through_an_identity_that_sent_a_hello() {
    let connector = connector();
    let mut gateway = WireGateway::connect(&connector.url, &register(&connector, "gw-1").await).await;
    let action = json!({"op": "send", "chat_id": "c1", "content": "x"});
    for (platform, bot, success) in [("discord", "b", true), ("discord", "other", false), ("telegram", "b", false)] {
        gateway
            .send_frame(
                &json!({"type": "outbound", "requestId": "r", "action": action, "platform": platform, "botId": bot}),
            )
            .await;
        assert_eq!(gateway.frame().await["result"]["success"], success, "{platform} {bot}");
    }
}

#[actix_web::test]
async fn only_the_session_of_an_interaction_can_be_followed_up() {
    let connector = connector();
    let mut gateway = WireGateway::connect(&connector.url, &register(&connector, "gw-1").await).await;
    let interaction = json!({"type": 2, "id": "i1", "channel_id": "111", "guild_id": "999", "data": {"name": "ask"},
                             "member": {"user": {"id": "42", "username": "ann"}}});
    let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, interaction.to_string());
    let forward =
        json!({"platform": "discord", "botId": "b", "method": "POST", "path": "/", "headers": [], "bodyB64": body});
    push(&connector, json!({"forward": forward})).await;
    let frame = gateway.frame().await;
    assert_eq!((&frame["type"], &frame["forward"]), (&json!("passthrough_forward"), &forward));
    gateway.acknowledge(&frame).await;
    let follow_up = |key: &str| json!({"op": "follow_up", "session_key": key, "kind": "discord.interaction_token", "content": "done"});
    assert_eq!(gateway.act(follow_up("agent:main:relay:channel:111:42")).await["success"], true);
    assert_eq!(gateway.act(follow_up("agent:main:relay:channel:111:43")).await["success"], false);
    assert_eq!(account(&connector).await["events"]["i1"]["answered"], 1);
}

#[actix_web::test]
async fn interrupts_go_both_ways() {
    let connector = connector();
    let mut gateway = WireGateway::connect(&connector.url, &register(&connector, "gw-1").await).await;
    push(&connector, json!({"interrupt": {"session_key": "agent:main:discord:channel:c1:u1", "chat_id": "c1"}})).await;
    let expected =
        json!({"type": "interrupt_inbound", "session_key": "agent:main:discord:channel:c1:u1", "chat_id": "c1"});
    assert_eq!(gateway.frame().await, expected);
    gateway
        .send_frame(&json!({"type": "interrupt", "session_key": "agent:main:discord:channel:c1:u1", "reason": "stop"}))
        .await;
    assert_eq!(gateway.frame().await, expected, "the instance that runs the session gets the interrupt");
}

#[actix_web::test]
async fn an_invalid_frame_is_counted_and_the_link_stays_up() {
    let connector = connector();
    let mut gateway = WireGateway::connect(&connector.url, &register(&connector, "gw-1").await).await;
    gateway
        .write("no json\n[]\n\n{\"type\":\"outbound\"}\n{\"type\":\"hello\",\"platform\":7}\n{\"type\":\"tomorrow\"}\n")
        .await;
    assert_eq!(gateway.act(json!({"op": "typing", "chat_id": "c1"})).await["success"], true);
    assert_eq!(account(&connector).await["malformed"], 4);
}

#[actix_web::test]
async fn a_line_that_is_too_long_closes_the_link_with_1009() {
    let connector = connector();
    let mut gateway = WireGateway::connect(&connector.url, &register(&connector, "gw-1").await).await;
    let mebibyte = "x".repeat(1024 * 1024);
    for _ in 0..9 {
        gateway.write(&mebibyte).await;
    }
    assert_eq!(gateway.close().await.0, 1_009);
}

#[actix_web::test]
async fn a_second_dial_closes_the_first() {
    let connector = connector();
    let credentials = register(&connector, "gw-1").await;
    let mut first = WireGateway::connect(&connector.url, &credentials).await;
    let mut second = WireGateway::connect(&connector.url, &credentials).await;
    assert_eq!(first.close().await, (4_000, "superseded".to_owned()));
    push(&connector, json!({"event": event("m1", "hi")})).await;
    assert_eq!(second.frame().await["event"]["message_id"], "m1");
    wait_for("one open socket in the account", SOON, || async {
        let account = account(&connector).await;
        (account["gateways"]["gw-1"]["open"] == 1 && account["gateways"]["gw-1"]["mostOpen"] == 2).then_some(())
    })
    .await;
}

#[actix_web::test]
async fn pings_are_answered() {
    let connector = connector();
    let credentials = register(&connector, "gw-1").await;
    let token = token("gw-1", credentials["secret"].as_str().unwrap(), 0);
    let (_, mut socket) = awc::Client::default()
        .ws(format!("ws://{}/relay", connector.authority()))
        .header("Authorization", format!("Bearer {token}"))
        .connect()
        .await
        .unwrap();
    futures_util::SinkExt::send(&mut socket, Message::Ping("x".into())).await.unwrap();
    let answer = within(SOON, "a pong", socket.next()).await.unwrap().unwrap();
    assert!(matches!(answer, awc::ws::Frame::Pong(payload) if payload == "x"));
}

#[actix_web::test]
async fn frames_from_gateways_are_streamed_from_the_first_one() {
    let connector = connector();
    let mut gateway = WireGateway::connect(&connector.url, &register(&connector, "gw-1").await).await;
    gateway.act(json!({"op": "typing", "chat_id": "c1"})).await;
    let url = format!("{}/dev/outbound?after=0", connector.url);
    let mut stream = awc::Client::default().get(url).send().await.unwrap();
    assert_eq!(stream.headers().get("content-type").unwrap(), "text/event-stream");
    let mut received = String::new();
    while received.matches("data: ").count() < 2 {
        let chunk =
            within(SOON, "an event of the stream", stream.next()).await.expect("the stream stays open").unwrap();
        received.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let frames: Vec<Value> = received
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!((&frames[0]["gatewayId"], &frames[0]["frame"]["type"]), (&json!("gw-1"), &json!("hello")));
    assert_eq!(frames[1]["frame"]["action"]["op"], "typing");
}

#[actix_web::test]
async fn the_connectors_account_counts_answers_and_marked_repeats() {
    let connector = connector();
    let mut gateway = WireGateway::connect(&connector.url, &register(&connector, "gw-1").await).await;
    push(&connector, json!({"event": event("m1", "hi")})).await;
    let inbound = gateway.frame().await;
    gateway.acknowledge(&inbound).await;
    gateway.act(json!({"op": "send", "chat_id": "c1", "content": "one", "reply_to": "m1"})).await;
    let repeat =
        json!({"op": "send", "chat_id": "c1", "content": "one", "reply_to": "m1", "metadata": {"repeat": true}});
    gateway.act(repeat).await;
    gateway.act(json!({"op": "send", "chat_id": "c1", "content": "unattributed"})).await;
    let account = account(&connector).await;
    let entry = &account["events"]["m1"];
    let counts = ["pushed", "sent", "acked", "answered", "repeats"].map(|name| entry[name].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 1, 2, 1]);
    assert_eq!(account["unattributed"], 1);
    assert_eq!(account["gateways"]["gw-1"]["frames"]["outbound"], 3);
}

#[actix_web::test]
async fn a_signal_closes_the_links_and_ends_the_process_cleanly() {
    for signal in ["TERM", "INT"] {
        let mut connector = connector();
        let mut gateway = WireGateway::connect(&connector.url, &register(&connector, "gw-1").await).await;
        connector.signal(signal);
        assert_eq!(gateway.close().await.0, 1_001);
        assert!(matches!(within(SOON, "the end", gateway.receive()).await, WireMessage::Cut));
        assert!(connector.wait_for_exit().success(), "SIG{signal}");
    }
}
