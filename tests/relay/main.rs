//! The relay link through the real gateway and the real connector, with a network between them that breaks.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod ambiguity;
mod faults;
mod hostile;
mod proxy;
mod python;
mod replay;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/world.rs"]
mod world;
