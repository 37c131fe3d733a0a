//! From event to turn: duplicate, profile, session, queue.

pub mod messages;
