//! One profile: its secrets, its children.

pub mod agent;
pub mod env_edit;
pub mod env_file;
pub mod globals;
pub mod messages;
pub mod name;
pub mod strength;
