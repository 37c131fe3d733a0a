//! The actors of Caduceus, and the supervision library they stand on.
//!
//! Read `gateway.rs` to see the whole tree; each room has its messages in `messages.rs`.

pub mod atomic;
pub mod config;
pub mod dispatch;
pub mod drain;
pub mod files;
pub mod gateway;
pub mod honcho;
pub mod http_client;
mod json;
pub mod ledger;
pub mod profile;
pub mod relay;
pub mod settings;
pub mod status;
pub mod supervision;
pub mod turn;
