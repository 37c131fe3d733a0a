//! The status is true, and the document of the API matches the answers.

#![allow(clippy::disallowed_methods, reason = "a test makes its own files")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod api;
#[path = "../support/command.rs"]
mod command;
mod moves;
#[path = "../../actors/tests/support/oauth_server.rs"]
#[expect(unreachable_pub, reason = "it is shared with tests of the crate below")]
mod oauth_server;
mod raw;
#[path = "../support/schema.rs"]
mod schema;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod truth;
mod watching;
#[path = "../support/world.rs"]
mod world;

use serde_json::Value;

/// The committed document of the API.
fn document() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
