//! The status of the gateway.

pub mod actor;
pub mod changes;
pub mod identity;
pub mod listener;
mod platforms;
mod process;
mod queries;
pub mod state_file;
mod views;
