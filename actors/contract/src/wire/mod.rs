//! The wire between a gateway and a connector: one JSON object per line, in both directions.

pub mod action;
pub mod action_result;
mod borrowed;
pub mod chat_command;
pub mod delivery;
pub mod descriptor;
pub mod event;
pub mod fields;
pub mod frame;
pub mod interaction;
pub mod lines;
pub mod provisioning;
pub mod received_event;
mod scan;
pub mod session;
pub mod token;
pub mod url;
