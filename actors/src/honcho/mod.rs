//! The single-use grant, kept alive among competing processes.

pub mod file;
pub mod grant;
pub mod messages;
pub mod secret_json;
