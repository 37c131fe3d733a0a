//! The development connector, through the real binary and real sockets.

#![allow(clippy::disallowed_methods, reason = "a test makes its own files")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod access;
mod buffer;
mod faults;
mod gateway;
mod original;
mod page;
#[path = "../support/mod.rs"]
mod support;
mod wire;

use serde_json::{Value, json};

use support::{Process, post};

fn connector() -> Process {
    Process::start(&["connector", "--bind", "127.0.0.1:0"])
}

async fn register(connector: &Process, gateway_id: &str) -> Value {
    let (status, credentials) =
        post(&format!("{}/dev/gateways", connector.url), &json!({"gatewayId": gateway_id})).await;
    assert_eq!(status, 200, "{credentials}");
    credentials
}

fn event(message_id: &str, text: &str) -> Value {
    json!({
        "text": text, "message_type": "text", "message_id": message_id,
        "source": {"platform": "discord", "chat_id": "c1", "chat_type": "channel", "user_id": "u1", "scope_id": "g1"},
    })
}

/// Pushes an event; returns the body of the answer.
async fn push(connector: &Process, body: Value) -> Value {
    let (status, pushed) = post(&format!("{}/dev/inbound", connector.url), &body).await;
    assert_eq!(status, 202, "{pushed}");
    pushed
}

async fn account(connector: &Process) -> Value {
    support::get(&format!("{}/dev/account", connector.url)).await.1
}

async fn set_faults(connector: &Process, faults: Value) {
    let (status, answer) = post(&format!("{}/dev/faults", connector.url), &faults).await;
    assert_eq!(status, 200, "{answer}");
}
