//! The link to the connector.

pub mod actor;
mod arrival;
mod carry;
pub mod claims;
pub mod counts;
mod dead_letter;
mod declare;
pub mod descriptors;
mod dial;
mod event_media;
mod frames;
pub mod identity;
mod intake;
mod lineup;
pub mod media;
mod plan;
pub mod policy;
pub mod post;
pub mod probe;
pub mod provision;
pub mod route;
mod socket;
mod steps;
pub mod timings;
mod waiting;
mod writer;

pub use waiting::NOT_CONNECTED;
