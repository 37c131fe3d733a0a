//! One file per subcommand, and what they share: exit codes, the log, the lock on a home.

pub(crate) mod arguments;
pub(crate) mod bench;
pub(crate) mod connector;
mod contact;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod drain;
mod dumps;
mod each_home;
pub(crate) mod enroll;
mod env_lines;
mod failure;
mod files;
mod finding;
mod gateways;
pub(crate) mod guard;
pub(crate) mod honcho;
pub(crate) mod ledger;
mod life;
mod lock;
pub(crate) mod log;
mod restart;
pub(crate) mod secrets;
pub(crate) mod serve;
mod service_manager;
mod signals;
pub(crate) mod status;
mod status_reporter;
pub(crate) mod stop;
mod token;
mod watchdog;

/// Exit code: the command failed, and another try would fail too.
pub(crate) const NOT_REACHED: u8 = 1;
/// Exit code: there is no gateway.
pub(crate) const NO_GATEWAY: u8 = 69;
/// Exit code: the token or the user lacks the right.
pub(crate) const NOT_PERMITTED: u8 = 77;
/// Exit code: another gateway holds the home.
pub(crate) const REFUSED: u8 = 69;
/// Exit code: restart intensity exceeded.
pub(crate) const INTERNAL_ERROR: u8 = 70;
/// Exit code: temporary failure, try again, such as an address in use.
pub(crate) const TRY_AGAIN: u8 = 75;
/// Exit code: the other side violates the protocol.
pub(crate) const PROTOCOL: u8 = 76;
/// Exit code: denied by a person or by the other side.
pub(crate) const DENIED: u8 = 77;
/// Exit code: configuration error; a restart does not help.
pub(crate) const CONFIGURATION: u8 = 78;
