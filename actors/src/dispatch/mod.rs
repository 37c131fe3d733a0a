//! From event to turn: duplicate, profile, session, queue.

pub mod actor;
#[cfg(test)]
pub(crate) mod composed;
pub mod counts;
pub mod event;
mod gate;
pub mod home;
mod links;
mod notice;
pub mod notice_limit;
mod offers;
mod plan;
pub mod ports;
mod recorded;
mod recovery;
mod replies;
pub mod room;
mod sending;
pub mod settings;
pub mod slots;
mod start;
mod started;
mod turns;
