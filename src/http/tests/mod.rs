//! The routes over real sockets, with one stub for all actors.

mod access;
mod authentication;
mod caller;
mod control;
mod document;
mod foreign;
mod ledger;
pub(super) mod sample;
#[path = "../../../tests/support/schema.rs"]
mod schema;
mod support;
mod views;
mod watching;
