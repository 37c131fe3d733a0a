//! The link to the connector.

pub mod actor;
mod arrival;
mod arrival_queue;
pub mod claims;
#[cfg(test)]
pub(crate) mod composed;
mod context;
pub mod counts;
mod dead_letter;
mod declare;
pub mod descriptors;
mod dial;
mod driver;
pub mod gateway_key;
pub mod identity;
mod link_socket;
pub mod media;
mod offers;
mod params;
mod pending;
mod plan;
pub mod policy;
pub mod ports;
pub mod post;
pub mod probe;
pub mod provision;
pub mod route;
pub mod settings;
mod socket;
mod steps;
pub mod timings;
mod unacked;
mod writer;

pub use pending::NOT_CONNECTED;
