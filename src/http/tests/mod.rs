//! The routes over real sockets, with one stub in the place of every actor.

mod access;
mod caller;
mod document;
mod foreign;
mod orders;
mod sample;
#[path = "../../../tests/support/schema.rs"]
mod schema;
mod seam;
mod support;
mod views;
mod watching;
