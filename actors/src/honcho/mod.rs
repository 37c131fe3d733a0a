//! The single-use grant, shared by competing processes.
//!
//! [`refresh`] is the critical section (lock, read, exchange, save), which the command line uses without any actor;
//! [`actor`] decides when, and answers from memory meanwhile.

pub mod actor;
pub mod authorize;
mod entries;
pub mod exchange;
pub mod file;
pub mod grant;
mod held;
pub mod inspect;
pub mod location;
pub mod lock;
mod note;
pub mod outcome;
mod plan;
mod profile_check;
pub mod refresh;
pub mod secret_json;
pub mod steps;
pub mod store;
#[cfg(test)]
mod trial;
pub mod verdict;
mod watch;
mod wiring;
