//! Turns: the work that one inbound event causes.

pub mod split;
