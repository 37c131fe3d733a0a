//! No acknowledged message is lost: the real gateway is killed at random moments, and its disk loses power.

#![allow(clippy::disallowed_methods, reason = "a test makes its own files")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod kill_loop;
mod power_cuts;
mod rows;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/world.rs"]
mod world;
