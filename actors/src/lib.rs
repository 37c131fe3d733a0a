//! The actors of Caduceus.
pub mod drain;
pub mod honcho;
mod json;
pub mod profile;
pub mod relay;
pub mod status;
pub mod supervision;
pub mod turn;
