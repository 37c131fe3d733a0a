//! One profile: its secrets, its children.

pub mod agent;
pub mod child_env;
pub mod dial;
pub mod env_edit;
pub mod env_file;
pub mod globals;
mod launch;
pub mod messages;
pub mod name;
pub mod redact;
pub mod reference;
pub mod scope;
pub mod strength;

pub use launch::GuardCommand;
