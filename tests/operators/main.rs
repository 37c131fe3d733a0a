//! The interfaces of a gateway to its operators: state files, commands, the service manager.

#![allow(clippy::disallowed_methods, reason = "a test makes its own files")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod bench;
#[path = "../support/command.rs"]
mod command;
mod commands;
mod manager;
mod original;
mod outputs;
mod records;
mod signals;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/world.rs"]
mod world;
