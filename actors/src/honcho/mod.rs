//! Honcho grants: an access token that works like an API key, and the single-use token that renews it.

pub mod file;
pub mod grant;
pub mod secret_json;
