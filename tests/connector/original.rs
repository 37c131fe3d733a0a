//! The original's own relay client against our connector.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::Process;
use crate::support::original::{PINNED, original_python};
use crate::{account, connector, event, push, register};

/// Importing the original takes seconds on a busy machine.
const CEILING: Duration = Duration::from_mins(1);

/// Our script with the original's client in it, killed when dropped.
struct Client {
    child: Child,
    lines: Receiver<String>,
    /// Its home, so that it touches nobody else's.
    _home: tempfile::TempDir,
}

impl Client {
    fn start(connector: &Process, credentials: &Value, platform: &str, flags: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/original/client.py");
        let mut child = Command::new(original_python())
            .arg(script)
            .args([&connector.url, credentials["gatewayId"].as_str().unwrap(), platform])
            .args(flags)
            .env("RELAY_TEST_SECRET", credentials["secret"].as_str().unwrap())
            .env("HOME", home.path())
            .env("HERMES_HOME", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client starts");
        let output = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines, _home: home }
    }

    /// What it says of a step; everything it says goes into the test's output.
    fn step(&self, name: &str) -> Value {
        let deadline = Instant::now() + CEILING;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("the client never came to {name:?}"));
            println!("original: {line}");
            let said: Value = serde_json::from_str(&line).expect("the client says JSON");
            if said["step"] == name {
                return said;
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[actix_web::test]
async fn the_originals_client_shakes_hands_hears_answers_and_goes_idle() {
    let connector = connector();
    let credentials = register(&connector, "gw-original").await;
    // Pushed before anybody is there: the client finds it waiting behind its handshake.
    let mut pushed = event("m1", "hello from the connector");
    pushed["source"]["profile"] = json!("coder");
    push(&connector, json!({"event": pushed})).await;
    let client = Client::start(&connector, &credentials, "discord", &[]);
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
async fn the_originals_client_reads_a_refused_dial_and_a_revoked_one_as_we_mean_them() {
    let connector = connector();
    let mut credentials = register(&connector, "gw-original").await;
    let client = Client::start(&connector, &credentials, "telegram", &["--until-closed"]);
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
    let client = Client::start(&connector, &credentials, "telegram", &["--until-closed"]);
    let closed = client.step("closed");
    assert_eq!((&closed["code"], &closed["revoked"]), (&json!(4_401), &json!(false)), "{closed}");
    assert_eq!(closed["reason"], "unauthorized");
}
