//! The link to the connector.

pub mod actor;
mod arrival;
mod carry_out;
pub mod claims;
pub mod counts;
mod dead_letter;
mod declare;
pub mod descriptors;
mod dial;
mod event_media;
mod frames;
pub mod identity;
pub mod media;
mod pending;
mod plan;
pub mod policy;
pub mod post;
pub mod probe;
pub mod provision;
pub mod route;
mod socket;
mod steps;
pub mod timings;
mod unacked;
mod writer;

pub use pending::NOT_CONNECTED;
