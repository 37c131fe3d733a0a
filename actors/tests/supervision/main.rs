//! The supervision library as its users see it: real actors, real threads.

#![allow(clippy::disallowed_methods, reason = "a test makes its own files")]

mod facts;
mod operators;
mod order;
mod restarts;
mod support;
mod watchdog;
mod wedged;
