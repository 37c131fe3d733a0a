//! Input and output of a turn, from the chat to the agent and back.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::model_server::ModelServer;
use crate::support::{SOON, post, wait_for};
use crate::world::World;

/// The limit of a Discord message, as in the connector's descriptor.
const LIMIT: usize = 2_000;

#[actix_web::test]
async fn a_resent_answer_is_marked_and_within_the_limit() {
    let mut world = World::prepare().await;
    world
        .write("agent.sh", "read -r document\ni=0\nwhile [ $i -lt 450 ]; do printf 'word%04d ' $i; i=$((i+1)); done\n");
    world.serve().await;
    let faults = format!("{}/dev/faults", world.connector.url);
    assert_eq!(post(&faults, &json!({"answerNever": true})).await.0, 200);
    world.push("m1", "go", "c1", None).await;
    world.until_text("c1", "word0000").await;
    // The part is in the chat and its result is lost: sent again, it may be a repeat.
    assert_eq!(post(&faults, &json!({"drop": true})).await.0, 200);
    let end = "a whole answer with its mark";
    let texts = wait_for(end, 2 * SOON, || async {
        let texts = world.texts("c1").await;
        let marked = texts.iter().any(|text| text.starts_with("(may be a repeat) word0000"));
        (marked && texts.iter().any(|text| text.contains("word0449"))).then_some(texts)
    })
    .await;
    let lengths: Vec<usize> = texts.iter().map(|text| text.encode_utf16().count()).collect();
    println!("parts of {lengths:?}");
    assert!(lengths.iter().all(|length| *length <= LIMIT), "{lengths:?}");
    assert!(lengths[0] > LIMIT - 20, "the first part was full without its mark: {lengths:?}");
}

#[actix_web::test]
async fn a_resent_answer_is_split_again_for_a_new_limit() {
    let mut world = World::prepare().await;
    world
        .write("agent.sh", "read -r document\ni=0\nwhile [ $i -lt 450 ]; do printf 'word%04d ' $i; i=$((i+1)); done\n");
    world.serve().await;
    let descriptor = json!({
        "contract_version": 1, "platform": "discord", "label": "Discord", "max_message_length": 5_000,
        "supports_draft_streaming": false, "supports_edit": false, "supports_threads": false,
        "markdown_dialect": "plain", "len_unit": "utf16", "supported_ops": ["send"],
    });
    push(&world, &json!({"raw": json!({"type": "descriptor", "descriptor": descriptor}).to_string() + "\n"})).await;
    let faults = format!("{}/dev/faults", world.connector.url);
    assert_eq!(post(&faults, &json!({"answerNever": true})).await.0, 200);
    world.push("m1", "go", "c1", None).await;
    let whole = world.until_text("c1", "word0449").await;
    assert!(whole.len() > LIMIT, "the answer was split for the earlier limit");
    // At the next handshake the connector sends its own limit again.
    assert_eq!(post(&faults, &json!({"drop": true})).await.0, 200);
    let again = wait_for("all of it again", 2 * SOON, || async {
        let texts = world.texts("c1").await.split_off(1);
        texts.iter().any(|text| text.contains("word0449")).then_some(texts)
    })
    .await;
    assert!(again.iter().all(|text| text.len() <= LIMIT), "{:?}", again.iter().map(String::len).collect::<Vec<_>>());
    assert_eq!(again.join(" "), format!("(may be a repeat) {whole}"));
}

/// Edits a message that does not exist, then ends.
const CHANGER: &str = r#"#!/bin/sh
read -r document
echo '{"type":"action","id":"a","action":{"op":"edit","message_id":"none","content":"changed"}}'
echo '{"type":"final"}'
"#;

#[actix_web::test]
async fn an_action_that_is_refused_when_resent_gets_a_notice_in_the_chat() {
    let mut world = World::prepare().await;
    world.write("agent.sh", CHANGER);
    world.configure("");
    let agent = fs::read_to_string(world.path("caduceus.yaml")).unwrap();
    world.write("caduceus.yaml", &agent.replace("backend: exec", "backend: exec\n  reply: jsonl"));
    world.serve().await;
    let faults = format!("{}/dev/faults", world.connector.url);
    assert_eq!(post(&faults, &json!({"answerNever": true})).await.0, 200);
    world.push("m1", "go", "c1", None).await;
    world.until_text("c1", "changed").await;
    // The edit may have arrived; the second time the connector refuses it because there is no such message.
    assert_eq!(post(&faults, &json!({"drop": true})).await.0, 200);
    world.until_text("c1", "could not be delivered").await;
    assert!(world.texts("c1").await.contains(&"(may be a repeat) changed".to_owned()));
}

async fn push(world: &World, what: &Value) {
    let (status, pushed) = post(&format!("{}/dev/inbound", world.connector.url), what).await;
    assert_eq!(status, 202, "{pushed}");
}

/// Writes a grant as a login or another process does: by one rename.
fn log_in(home: &Path, access: &str) {
    let expires_at = jiff::Timestamp::now().as_second() + 86_400;
    let oauth = json!({
        "refreshToken": format!("hch-rt-for-{access}"), "expiresAt": expires_at, "clientId": "hermes-agent",
        // There is no server at this address: only the test changes the grant.
        "tokenEndpoint": "http://127.0.0.1:9/token", "scope": "write", "tokenType": "Bearer",
    });
    let file = json!({"hosts": {"hermes": {"apiKey": access, "oauth": oauth}}});
    let temporary = home.join("honcho.tmp");
    fs::write(&temporary, file.to_string()).unwrap();
    fs::rename(temporary, home.join("honcho.json")).unwrap();
}

/// Writes the token it was started with, and every line that it receives after the document.
const LISTENER: &str = r#"#!/bin/sh
read -r document
echo "started $HONCHO_API_KEY" >> "$HERMES_HOME/tokens"
echo '{"type":"text","text":"listening"}'
while read -r line; do
    echo "received $line" >> "$HERMES_HOME/tokens"
    case $line in *third*) echo '{"type":"final","text":" and done"}' ;; esac
done
"#;

#[actix_web::test]
async fn a_token_that_changes_during_a_turn_reaches_only_the_agent() {
    let token = |name: &str| format!("hch-at-{name}-{:016x}", fastrand::u64(..));
    let [first, second, third] = ["first", "second", "third"].map(token);
    let mut world = World::prepare().await;
    world.variable("RUST_LOG", "trace");
    world.write("agent.sh", LISTENER);
    world.configure("");
    let yaml = fs::read_to_string(world.path("caduceus.yaml")).unwrap();
    world.write("caduceus.yaml", &format!("{yaml}  reply: jsonl\n  credentials: live\n"));
    log_in(world.home(), &first);
    world.serve().await;
    world.push("m1", "hello", "c1", None).await;
    world.until_text("c1", "listening").await;
    let account = || fs::read_to_string(world.path("tokens")).unwrap_or_default();
    let received = |value: &str| {
        format!("received {{\"type\":\"credential\",\"name\":\"HONCHO_API_KEY\",\"value\":\"{value}\"}}\n")
    };
    assert_eq!(account(), format!("started {first}\n"));

    log_in(world.home(), &second);
    let expected = format!("started {first}\n{}", received(&second));
    wait_for("the second token", SOON, || async { (account() == expected).then_some(()) }).await;
    log_in(world.home(), &third);
    world.until_text("c1", "listening and done").await;
    assert_eq!(account(), expected + &received(&third));

    let log = world.gateway().log();
    assert!(log.contains("TRACE"), "the log is not at level TRACE");
    let ledger = ["caduceus/ledger.db", "caduceus/ledger.db-wal"]
        .map(|name| fs::read(world.path(name)).unwrap_or_default())
        .concat();
    let ledger = String::from_utf8_lossy(&ledger).into_owned();
    assert!(ledger.contains("listening and done"), "the ledger was not read");
    let frames = format!("{:?}", world.outbound().await);
    let status = world.status().await.to_string();
    for (place, text) in [("log", log), ("ledger", ledger), ("frames", frames), ("status", status)] {
        for token in [&first, &second, &third] {
            assert!(!text.contains(token.as_str()), "a token is in the {place}");
        }
    }
}

#[actix_web::test]
async fn an_interaction_is_answered_by_follow_ups_with_the_token_that_the_connector_keeps() {
    let world = World::start().await;
    let interaction = json!({
        "type": 2, "id": "i1", "channel_id": "111", "guild_id": "999",
        "data": {"name": "ask", "options": [{"name": "q", "value": "why"}]},
        "member": {"user": {"id": "42", "username": "ann"}},
    });
    let body = STANDARD.encode(interaction.to_string());
    let forward =
        json!({"platform": "discord", "botId": "b", "method": "POST", "path": "/", "headers": [], "bodyB64": body});
    push(&world, &json!({"forward": forward})).await;
    world.answer("i1").await;
    let frame = world.until_frame("default: ask q: why").await;
    let frame: Value = serde_json::from_str(&frame).unwrap();
    let action = &frame["frame"]["action"];
    assert_eq!(action["op"], "follow_up", "{frame}");
    assert_eq!(action["session_key"], "agent:main:relay:channel:111:42");
    assert_eq!(action["kind"], "discord.interaction_token");
    let ops: Vec<Value> = world.outbound().await.iter().map(|kept| kept["frame"]["action"]["op"].clone()).collect();
    assert!(!ops.contains(&json!("edit")) && !ops.contains(&json!("send")), "{ops:?}");
}

#[actix_web::test]
async fn a_server_gets_the_configured_length_of_history_and_the_attachments() {
    let server = ModelServer::start();
    let mut world = World::prepare().await;
    let agent = |name: &str, history: usize| {
        world.profile(name, "");
        let agent =
            format!("agent:\n  backend: openai\n  base_url: {}\n  model: m\n  history: {history}\n", server.url());
        world.write(&format!("profiles/{name}/caduceus.yaml"), &agent);
    };
    agent("long", 60);
    agent("short", 2);
    world.serve().await;
    for number in 0..32 {
        let (id, text) = (format!("m{number}"), format!("number {number}"));
        world.push(&id, &text, "c1", Some("long")).await;
        world.answer(&id).await;
    }
    for number in 0..3 {
        let id = format!("s{number}");
        world.push(&id, &id, "c2", Some("short")).await;
        world.answer(&id).await;
    }
    let requests = server.requests();
    let lengths: Vec<usize> = requests.iter().map(|request| request.messages().len()).collect();
    assert_eq!(lengths[..32], (0..32).map(|turn: usize| 1 + (2 * turn).min(60)).collect::<Vec<_>>());
    assert_eq!(lengths[32..], [1, 3, 3]);
    assert_eq!(requests[31].messages()[0].1, "number 1", "the oldest of 60 entries");

    let mut event = World::message("p1", "what is this?", "c3", Some("short"));
    event["message_type"] = "photo".into();
    event["media_urls"] = json!(["https://media.example/a.png", "https://media.example/b.pdf"]);
    event["media"] = json!([{"mime_type": "image/png"}, {"mime_type": "application/pdf"}]);
    event["context"] = json!([{"text": "look at that", "source": {"user_name": "Bob"}}]);
    push(&world, &json!({"event": event})).await;
    world.answer("p1").await;
    let content = server.requests().last().unwrap().body["messages"][0]["content"].clone();
    let words = "[Recent channel messages]\nBob: look at that\n\n[New message]\nwhat is this?\n\
                 [Attached] application/pdf: https://media.example/b.pdf";
    let picture = json!({"type": "image_url", "image_url": {"url": "https://media.example/a.png"}});
    assert_eq!(content, json!([{"type": "text", "text": words}, picture]));
}

#[actix_web::test]
async fn a_command_agent_gets_attachments_unchanged() {
    let mut world = World::prepare().await;
    world.write("agent.sh", "read -r document; printf '%s' \"$document\" > \"$HERMES_HOME/document\"; echo read");
    world.serve().await;
    let mut event = World::message("p1", "what is this?", "c1", None);
    event["media_urls"] = json!(["https://media.example/a.png"]);
    event["context"] = json!([{"text": "look at that"}]);
    push(&world, &json!({"event": event})).await;
    world.answer("p1").await;
    let document: Value = serde_json::from_str(&fs::read_to_string(world.path("document")).unwrap()).unwrap();
    assert_eq!(document["event"], event);
}

/// Prints four lines, a second apart.
const SLOW: &str = "read -r document; for n in 1 2 3 4; do echo \"line $n of four\"; sleep 0.9; done";

#[actix_web::test]
async fn a_reply_grows_by_edits_if_the_platform_supports_them_and_by_messages_otherwise() {
    let mut world = World::prepare().await;
    world.write("agent.sh", SLOW);
    world.serve().await;
    let of = |frames: Vec<Value>| -> Vec<(Value, Value)> {
        let actions = frames.into_iter().map(|kept| kept["frame"]["action"].clone());
        actions
            .filter(|action| action["chat_id"] == "c1")
            .map(|action| (action["op"].clone(), action["content"].clone()))
            .collect()
    };
    world.push("m1", "hello", "c1", None).await;
    world.until_text("c1", "line 4").await;
    let grown = of(world.outbound().await);
    let ops = |wanted: &str| grown.iter().filter(|(op, _)| op == wanted).count();
    assert_eq!(ops("send"), 1, "{grown:?}");
    assert!((1..=4).contains(&ops("edit")), "{grown:?}");
    assert!(ops("typing") >= 1, "there is no typing indicator: {grown:?}");

    // A new descriptor of the platform: no edits, and messages of two lines.
    let descriptor = json!({
        "contract_version": 1, "platform": "discord", "label": "Discord", "max_message_length": 30,
        "supports_draft_streaming": false, "supports_edit": false, "supports_threads": false,
        "markdown_dialect": "plain", "len_unit": "utf16", "supported_ops": ["send", "edit"],
    });
    let raw = json!({"type": "descriptor", "descriptor": descriptor}).to_string() + "\n";
    push(&world, &json!({"raw": raw})).await;
    let before = world.outbound().await.len();
    world.push("m2", "hello again", "c1", None).await;
    world.until("no turn", |status| status["active_agents"] == 0 && status["turns"]["done"] == 2).await;
    let since = world.outbound().await.split_off(before);
    let sent = of(since);
    let expected = ["line 1 of four\nline 2 of four", "line 3 of four\nline 4 of four"];
    assert_eq!(sent, expected.map(|text| (json!("send"), json!(text))));
}
