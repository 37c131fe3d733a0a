//! From event to turn: duplicate, profile, session, queue.

pub mod actor;
pub mod event;
pub mod home;
pub mod messages;
mod notice;
mod outbox;
mod plan;
#[cfg(test)]
mod plan_tests;
pub mod ports;
mod recovery;
mod start;
