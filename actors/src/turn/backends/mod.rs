//! The agent backends, one file each.

mod echo;
mod exec;
mod openai;

use super::backend::AgentBackend;

/// The agent backends, in the order in which an error lists them.
pub(crate) const BACKENDS: &[&AgentBackend] = &[&exec::BACKEND, &openai::BACKEND, &echo::BACKEND];
