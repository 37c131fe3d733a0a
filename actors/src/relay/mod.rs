//! The link to the connector: its frames, its credentials, and what its events mean.

pub mod action;
pub mod delivery;
pub mod descriptor;
pub mod event;
pub mod fields;
pub mod frame;
pub mod interaction;
pub mod lines;
pub mod route;
pub mod session;
pub mod token;
pub mod url;
