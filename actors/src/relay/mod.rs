//! The link to the connector, and the formats of its wire.

pub mod action;
pub mod delivery;
pub mod descriptor;
pub mod event;
pub mod fields;
pub mod frame;
pub mod interaction;
pub mod lines;
pub mod messages;
pub mod route;
pub mod session;
pub mod token;
pub mod url;
