//! The link to the connector.

pub mod actor;
mod arrival;
mod carry;
pub mod claims;
pub mod counts;
mod dead_letter;
pub mod descriptors;
mod dial;
mod errands;
mod frames;
pub mod identity;
mod intake;
pub mod knock;
mod lineup;
pub mod media;
mod plan;
pub mod policy;
pub mod post;
pub mod provision;
pub mod route;
mod socket;
mod steps;
pub mod timings;
mod waiting;
mod writer;

pub use waiting::NOT_CONNECTED;
