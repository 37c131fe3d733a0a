//! From event to turn: duplicate, profile, session, queue.

pub mod actor;
pub mod counts;
pub mod event;
pub mod home;
mod links;
mod notice;
mod plan;
pub mod ports;
mod recovery;
mod replies;
mod sending;
pub mod settings;
mod start;
mod started;
