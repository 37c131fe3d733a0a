//! Bodies and answers of the gateway's HTTP API, and the line that announces an address. The route and the command use the same type.
//!
//! A reader ignores fields that it does not have: the gateway may be of a later version than the command.

pub mod announcement;
pub mod control;
pub mod drain;
pub mod ledger;
pub mod ledger_changes;
pub mod ledger_data;
pub mod status;
