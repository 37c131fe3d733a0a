//! The gateway through its real binary: real sockets, real files, real processes.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod agents;
mod commands;
mod conversations;
mod drains;
mod environ;
mod faults;
mod kills;
mod mistakes;
#[path = "../../actors/tests/support/model_server.rs"]
mod model_server;
mod openai;
mod processes;
mod races;
mod sessions;
mod stopping;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/world.rs"]
mod world;
