//! The status of the gateway.

pub mod actor;
mod answer; // The last view of one actor.
mod build; // A snapshot from the views.
pub mod changes;
pub mod identity;
mod limit; // How many snapshots are made.
pub mod listener;
mod platforms;
mod process;
mod profiles; // The views and shown parts of the profiles.
mod queries;
mod settings;
pub mod state_file;
mod views;
