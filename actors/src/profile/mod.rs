//! Profiles: their names, their secrets, and what a child of theirs may see.

pub mod env_edit;
pub mod env_file;
pub mod globals;
pub mod name;
pub mod strength;
