//! From event to turn: duplicate, profile, session, queue.

pub mod actor;
mod arrivals;
pub mod counts;
pub mod event;
pub mod home;
pub mod messages;
mod notice;
mod outbox;
mod plan;
pub mod ports;
mod recovery;
pub mod settings;
mod start;
