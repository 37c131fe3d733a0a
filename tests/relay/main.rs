//! The relay through the real gateway and the real connector: with network faults between them, and the other parts:
//! credentials, deliveries, idle links, links of profiles, TLS.

#![allow(clippy::disallowed_methods, reason = "a test makes its own files")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod ambiguity;
#[path = "../support/forms.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod answer_forms;
mod clones;
#[path = "../support/command.rs"]
mod command;
mod dead_letters;
mod deliveries;
mod dials;
mod enroll;
mod faults;
mod floods;
mod forms;
mod hostile;
mod idle;
mod links;
mod provision;
mod proxy;
mod python;
mod replay;
mod stub;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod unauthenticated;
#[path = "../support/world.rs"]
mod world;

use serde_json::{Value, json};

use support::post;
use world::World;

/// The credentials that the connector gave the gateway of a world.
async fn credentials(world: &World) -> Value {
    let (status, credentials) =
        post(&format!("{}/dev/gateways", world.connector.url), &json!({"gatewayId": "world"})).await;
    assert_eq!(status, 200, "{credentials}");
    credentials
}

/// One text field of the credentials.
fn text<'a>(credentials: &'a Value, name: &str) -> &'a str {
    credentials[name].as_str().unwrap()
}
