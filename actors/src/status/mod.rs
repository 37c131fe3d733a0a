//! What the gateway says of itself.

pub mod actor;
pub mod identity;
pub mod listener;
mod platforms;
mod process;
pub mod state_file;
mod views;
