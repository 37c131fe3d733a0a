//! The routes over real sockets, with one stub in the place of every actor.

mod access;
mod orders;
mod sample;
mod support;
mod views;
mod watching;
