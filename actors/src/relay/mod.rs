//! The link to the connector, and the formats of its wire.

pub mod messages;
