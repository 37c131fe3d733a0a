//! The single-use grant, kept alive among competing processes.

pub mod messages;
