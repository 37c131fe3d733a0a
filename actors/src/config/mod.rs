//! The settings in force: read again while the gateway runs, and carried to everyone.

pub mod actor;
pub mod messages;
mod plan;
pub mod present;
mod round;

pub use actor::ConfigActor;
pub use present::{Present, ProfileChild, ProfileMaker, TermsMemory};
pub use round::ConfigPorts;
