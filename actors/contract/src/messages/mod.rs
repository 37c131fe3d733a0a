//! The messages of the actors, one file for each, and the views that they answer.

pub mod batch;
pub mod config;
pub mod dispatch;
pub mod drain;
pub mod honcho;
pub mod ledger;
pub mod ledger_control;
pub mod profile;
pub mod relay;
pub mod status;
pub mod turn;
