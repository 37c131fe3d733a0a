//! What the gateway says of itself.

pub mod actor;
pub mod messages;
mod process;
pub mod snapshot;
pub mod words;
