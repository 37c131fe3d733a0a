//! The work that one inbound event causes, and the backends that do it.

pub mod actor;
mod backend;
pub(crate) mod backends;
mod command;
mod delivery;
mod driver;
pub mod fit;
pub mod guard;
pub mod id;
pub mod order;
pub mod ports;
mod process;
mod protocol;
mod reply;
mod reply_stream;
mod run;
pub mod split;
mod state;
mod stderr_log;
mod verdict;
mod work;

pub use actor::TurnActor;
pub use ports::TurnPorts;
