//! The original's own relay client against the connector of Caduceus.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::original::{PINNED, original_python};
use crate::support::{Process, json_lines};
use crate::{account, connector, event, push, register};

/// Importing the original takes seconds on a busy machine.
const CEILING: Duration = Duration::from_mins(1);

/// The script that runs the original's client, killed when dropped.
struct OriginalClient {
    child: Child,
    printed: Receiver<Value>,
    /// Its own home, so that it changes no other.
    _home: tempfile::TempDir,
}

impl OriginalClient {
    fn start(connector: &Process, credentials: &Value, platform: &str, flags: &[&str]) -> Self {
        Self::run("client.py", connector, credentials, &[&[platform], flags].concat())
    }

    fn run(script: &str, connector: &Process, credentials: &Value, arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/original").join(script);
        let mut child = Command::new(original_python())
            .arg(script)
            .args([&connector.url, credentials["gatewayId"].as_str().unwrap()])
            .args(arguments)
            .env("RELAY_TEST_SECRET", credentials["secret"].as_str().unwrap())
            .env("HOME", home.path())
            .env("HERMES_HOME", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client starts");
        let printed = json_lines(&mut child);
        Self { child, printed, _home: home }
    }

    /// The output of a step; the whole output is copied to the test's.
    fn step(&self, name: &str) -> Value {
        let deadline = Instant::now() + CEILING;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let printed =
                self.printed.recv_timeout(left).unwrap_or_else(|_| panic!("the client did not report {name:?}"));
            println!("original: {printed}");
            if printed["step"] == name {
                return printed;
            }
        }
    }
}

impl Drop for OriginalClient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[actix_web::test]
async fn the_originals_client_connects_gets_results_and_goes_idle() {
    let connector = connector();
    let credentials = register(&connector, "gw-original").await;
    // Pushed before the client connects: it arrives after the handshake.
    let mut pushed = event("m1", "hello from the connector");
    pushed["source"]["profile"] = json!("coder");
    push(&connector, json!({"event": pushed})).await;
    let client = OriginalClient::start(&connector, &credentials, "discord", &[]);
    assert_eq!(client.step("version")["version"], PINNED);
    let handshake = client.step("handshake");
    let shape = (&handshake["platform"], &handshake["limit"], &handshake["unit"]);
    assert_eq!(shape, (&json!("discord"), &json!(2_000), &json!("chars")));
    let inbound = client.step("inbound");
    assert_eq!((&inbound["message"], &inbound["profile"]), (&json!("m1"), &json!("coder")));
    assert_eq!(client.step("result")["result"]["success"], true);
    assert_eq!(client.step("edited")["result"]["success"], true);
    assert_eq!(client.step("chat")["info"]["type"], "channel");
    assert_eq!(client.step("idle")["acknowledged"], true);
    client.step("end");
    let account = account(&connector).await;
    let entry = &account["events"]["m1"];
    assert_eq!((&entry["acked"], &entry["answered"]), (&json!(1), &json!(1)), "{entry}");
}

#[actix_web::test]
async fn the_originals_client_distinguishes_a_refused_dial_from_a_revoked_one() {
    let connector = connector();
    let mut credentials = register(&connector, "gw-original").await;
    let client = OriginalClient::start(&connector, &credentials, "telegram", &["--until-closed"]);
    client.step("version");
    let mut frame = client.step("frame");
    while frame["frame"]["type"] != "descriptor" {
        frame = client.step("frame");
    }
    let url = format!("{}/manage/deprovision", connector.url);
    assert_eq!(crate::support::post(&url, &json!({"gatewayId": "gw-original"})).await.0, 200);
    let closed = client.step("closed");
    assert_eq!((&closed["code"], &closed["revoked"]), (&json!(4_401), &json!(true)), "{closed}");

    credentials["secret"] = json!("not the one");
    let client = OriginalClient::start(&connector, &credentials, "telegram", &["--until-closed"]);
    let closed = client.step("closed");
    assert_eq!((&closed["code"], &closed["revoked"]), (&json!(4_401), &json!(false)), "{closed}");
    assert_eq!(closed["reason"], "unauthorized");
}

#[actix_web::test]
async fn the_originals_client_works_against_the_connector_from_start_to_end() {
    let connector = connector();
    let credentials = register(&connector, "gw-original").await;
    let client = OriginalClient::run("full_session.py", &connector, &credentials, &[]);
    assert_eq!(client.step("handshake")["platform"], "discord");
    for (id, platform) in [("d1", "discord"), ("t1", "telegram")] {
        let mut event = event(id, "hello");
        event["source"]["platform"] = json!(platform);
        push(&connector, json!({"event": event})).await;
        let answered = client.step("answered");
        assert_eq!((&answered["message"], &answered["result"]["success"]), (&json!(id), &json!(true)), "{answered}");
    }
    let links = &account(&connector).await["links"];
    let identities = links[0]["identities"].as_array().unwrap();
    assert_eq!(identities.len(), 2, "one hello for each: {links}");

    let interaction = json!({
        "type": 2, "id": "i1", "channel_id": "f1", "guild_id": "g1",
        "member": {"user": {"id": "u1", "username": "ann"}}, "data": {"name": "ask"},
    });
    let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, interaction.to_string());
    let forward = json!({
        "platform": "discord", "botId": "bot-d", "method": "POST", "path": "/interactions", "headers": [], "bodyB64": body,
    });
    push(&connector, json!({"forward": forward})).await;
    assert_eq!(client.step("followed up")["result"]["success"], true);

    let session = "agent:main:discord:channel:c1:u1";
    push(&connector, json!({"interrupt": {"session_key": session, "chat_id": "c1"}})).await;
    assert_eq!(client.step("interrupted")["session"], session);
    assert_eq!(client.step("interrupt came back")["session"], "agent:main:discord:channel:c9:u1");

    assert_eq!(client.step("dormant")["acknowledged"], true);
    for id in ["w1", "w2", "w3"] {
        let pushed = push(&connector, json!({"event": event(id, "during idle")})).await;
        assert_eq!(pushed["delivered"], 0, "{pushed}");
    }
    assert_eq!(client.step("replayed")["messages"], json!(["w1", "w2", "w3"]));
    crate::support::wait_for("every acknowledgement", CEILING, || async {
        (account(&connector).await["links"][0]["buffered"] == 0).then_some(())
    })
    .await;

    let url = format!("{}/manage/deprovision", connector.url);
    assert_eq!(crate::support::post(&url, &json!({"gatewayId": "gw-original"})).await.0, 200);
    assert_eq!(client.step("revoked")["revoked"], true);
}
