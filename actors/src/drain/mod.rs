//! The gate: whether a turn may start, and the marker that closes it from outside.

pub mod actor;
pub mod epoch;
mod line;
pub mod marker;
pub mod messages;
pub mod permit;
mod plan;
pub mod store;
mod watch;
