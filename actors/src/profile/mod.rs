//! One profile: its secrets, its children.

pub mod agent;
pub mod messages;
