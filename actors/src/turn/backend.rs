//! An agent backend: its name, its keys, and how it runs a turn.
//!
//! A backend is one file in `backends`, which declares an [`AgentBackend`], and its line in `backends/mod.rs`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::command::TurnCommands;
use super::state::TurnState;
use crate::profile::agent::{AgentResource, AgentSettings};
use crate::settings::yaml::Section;
use caduceus_contract::messages::turn::TurnOutcome;

/// Longest turn unless the profile says otherwise.
pub(super) const DEFAULT_TURN_TIMEOUT: Duration = Duration::from_mins(30);

/// A turn while a backend runs it.
pub(super) type TurnFuture<'a> = Pin<Box<dyn Future<Output = TurnOutcome> + 'a>>;

/// Runs a turn by the settings that its profile had when it began.
type RunTurn = for<'a> fn(&'a mut TurnState, &'a Arc<AgentSettings>, &'a mut TurnCommands) -> TurnFuture<'a>;

/// A way to run turns.
pub(crate) struct AgentBackend {
    /// The value of `agent.backend`.
    pub(crate) name: &'static str,
    /// Reads the other keys of the `agent:` block. If one is missing or wrong, it reports that to the section and returns `None`.
    pub(crate) read: fn(&mut Section<'_>) -> Option<AgentResource>,
    /// Runs one turn; all messages are in the ledger when it returns.
    pub(super) run: RunTurn,
}
