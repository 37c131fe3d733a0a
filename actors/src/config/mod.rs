//! The settings in force: read again while the gateway runs, and sent to the other actors.

pub mod actor;
pub mod messages;
mod plan;
mod reload;
pub mod served_profiles;

pub use actor::ConfigActor;
pub use reload::ConfigPorts;
pub use served_profiles::{ProfileChild, ProfileFactory, ServedProfiles, SharedProfileConfig};
