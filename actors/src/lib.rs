//! The actors of Caduceus.
//!
//! `gateway.rs` has the whole tree. The messages are in `caduceus_contract::messages`; those that carry a live resource or
//! settings are in the `messages.rs` of the actor concerned.

// They panic when the reader has closed its end, and block when it does not read. Use the log.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "a test makes its own files; the build without tests has the ban")
)]

pub mod atomic;
mod clock;
#[cfg(test)]
mod composed;
pub mod config;
pub mod counts;
pub mod dispatch;
pub mod drain;
pub mod error_chain;
#[cfg(test)]
mod exploration;
pub mod files;
pub mod gateway;
mod hand_over;
pub mod honcho;
pub mod http_client;
mod in_order;
pub mod ledger;
pub mod locked;
pub mod nearest;
pub mod network;
pub mod outbox;
pub mod profile;
pub mod relay;
mod retry_plan;
pub mod settings;
pub mod signals;
pub mod status;
mod sync;
pub mod system_error;
pub mod time;
pub mod turn;
