//! The status of the gateway.

pub mod actor;
pub mod identity;
pub mod listener;
mod platforms;
mod process;
pub mod state_file;
mod views;
