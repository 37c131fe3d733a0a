//! The link to the connector, and the formats of its wire.

pub mod action;
pub mod actor;
mod arrival;
mod carry;
pub mod counts;
pub mod delivery;
pub mod descriptor;
mod dial;
mod errands;
pub mod event;
pub mod fields;
pub mod frame;
pub mod identity;
pub mod inbound;
mod intake;
pub mod interaction;
pub mod knock;
pub mod lines;
mod lineup;
pub mod media;
pub mod messages;
mod plan;
pub mod policy;
pub mod post;
pub mod provision;
pub mod route;
pub mod session;
mod socket;
mod steps;
pub mod timings;
pub mod token;
pub mod url;
mod waiting;
mod writer;

pub use waiting::NOT_CONNECTED;
