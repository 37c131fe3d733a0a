//! The work that one inbound event causes, and the backends that do it.

pub mod actor;
mod delivery;
mod driver;
pub mod fit;
pub mod guard;
pub mod id;
pub mod messages;
mod noise;
mod openai;
pub mod order;
mod process;
mod reply;
mod reply_stream;
mod run;
pub mod split;
mod talk;
mod verdict;

pub use actor::{TurnActor, TurnPorts};
