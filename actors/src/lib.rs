//! The actors of Caduceus.
pub mod supervision;
