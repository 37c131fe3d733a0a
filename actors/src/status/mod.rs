//! What the gateway says of itself.

pub mod messages;
pub mod snapshot;
pub mod words;
