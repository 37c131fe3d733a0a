//! The actors of Caduceus.
//!
//! Read `gateway.rs` to see the whole tree; each room has its messages in `messages.rs`.

// They panic when the reader is gone, and block when it does not read. What is to be said is logged.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "a test makes its own files; the build without tests has the ban")
)]

pub mod atomic;
mod clock;
pub mod config;
pub mod counts;
pub mod dispatch;
pub mod drain;
#[cfg(test)]
mod exploration;
pub mod files;
pub mod gateway;
pub mod honcho;
pub mod http_client;
mod json;
pub mod ledger;
pub mod nearest;
pub mod network;
pub mod profile;
pub mod relay;
pub mod settings;
pub mod signals;
pub mod status;
pub mod system_error;
pub mod turn;
