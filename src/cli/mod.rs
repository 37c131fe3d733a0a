//! One file a subcommand, and what they share: exit codes, the log, the lock on a home.

pub(crate) mod connector;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod enroll;
mod files;
mod finding;
pub(crate) mod guard;
mod life;
mod lock;
mod log;
pub(crate) mod secrets;
pub(crate) mod serve;

/// Exit code: nothing is wrong with the gateway, but another one holds the home.
pub(crate) const REFUSED: u8 = 69;
/// Exit code: something of ours broke more often than it may.
pub(crate) const INTERNAL_ERROR: u8 = 70;
/// Exit code: worth another try as it is, such as an address in use.
pub(crate) const TRY_AGAIN: u8 = 75;
/// Exit code: no restart can help, a person must mend the configuration.
pub(crate) const CONFIGURATION: u8 = 78;
