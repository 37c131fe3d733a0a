//! The supervision library by its public interface: real actors, real threads.

#![allow(clippy::disallowed_methods, reason = "the tests of actix use it directly")]

mod actix_behaviour;
mod exits;
mod operators;
mod order;
mod readings;
mod restarts;
mod support;
mod tasks;
mod temporary;
mod unresponsive;
mod watchdog;
