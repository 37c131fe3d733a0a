//! The gateway through its real binary: real sockets, real files, real processes.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod drains;
mod faults;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/world.rs"]
mod world;
