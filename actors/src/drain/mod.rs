//! The gate: whether a turn may start, and the marker that closes it from outside.

pub mod actor;
#[cfg(test)]
pub(crate) mod composed;
pub mod epoch;
mod homes;
#[cfg(test)]
#[path = "../../tests/support/drain_model.rs"]
mod model;
#[cfg(test)]
mod model_tests;
pub mod permit;
mod plan;
mod queue;
mod readings;
pub mod store;
mod watch;
