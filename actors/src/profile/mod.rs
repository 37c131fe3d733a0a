//! One profile: its secrets, its children.

pub mod actor;
pub mod agent;
mod call;
pub mod child_env;
pub mod dial;
pub mod env_edit;
pub mod env_file;
mod env_source;
pub mod globals;
mod input;
pub mod inspect;
mod launch;
pub mod messages;
pub mod name;
mod plan;
mod provisioning;
pub mod redact;
pub mod reference;
pub mod scope;
pub mod strength;

pub use actor::{ProfileActor, ProfilePorts};
pub use call::{CallTimings, Caller};
pub use input::AgentInput;
pub use launch::GuardCommand;
pub use redact::Redactor;
