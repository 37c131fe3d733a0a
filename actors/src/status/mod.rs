//! What the gateway says of itself.

pub mod actor;
pub mod identity;
pub mod listener;
pub mod messages;
mod process;
pub mod record;
pub mod snapshot;
pub mod state_file;
pub mod words;
