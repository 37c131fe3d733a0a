//! The work that one inbound event causes, and the backends that do it.

pub mod guard;
pub mod id;
pub mod messages;
mod reply;
pub mod split;
