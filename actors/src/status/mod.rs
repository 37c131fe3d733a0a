//! The status of the gateway.

pub mod actor;
pub mod identity;
mod judge;
pub mod listener;
pub mod messages;
mod platforms;
mod process;
pub mod readiness;
pub mod record;
pub mod shown;
pub mod snapshot;
pub mod state_file;
mod views;
pub mod words;
