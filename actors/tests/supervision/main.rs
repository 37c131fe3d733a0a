//! The supervision library as its users see it: real actors, real threads.

mod facts;
mod operators;
mod order;
mod restarts;
mod support;
mod watchdog;
mod wedged;
