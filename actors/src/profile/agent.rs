//! The configuration of a profile's agent: the `agent:` block of `caduceus.yaml`, the profile's own or else the home's.

pub mod messages;

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// Entries of a conversation that are kept by default.
pub const DEFAULT_HISTORY: usize = 40;

/// The agent of a profile: the backend that runs its turns, and what the profile provides for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSettings {
    /// The name of the backend, one of `turn/backends`; `none` if nothing is configured.
    pub backend: &'static str,
    /// What the profile provides for a turn.
    pub resource: AgentResource,
}

/// What the profile provides for a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentResource {
    /// Nothing: the backend is built in, or there is none.
    Nothing,
    /// A process, with the secrets of the profile in its environment.
    Process(ExecSettings),
    /// A call of a chat completions server, with the key of the profile.
    Server(OpenAiSettings),
}

/// An agent that is a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecSettings {
    /// Program and arguments; never empty. `$$` is a dollar sign; a `${NAME}` reference is refused at the start of the agent.
    pub command: Vec<String>,
    /// Its working directory; the profile's home by default. May contain `${NAME}` references.
    pub cwd: Option<PathBuf>,
    /// Timeout of a turn.
    pub timeout: Duration,
    /// Further names of the process environment that are passed to it.
    pub env_pass: Vec<String>,
    /// Its protocol.
    pub reply: ReplyForm,
    /// Whether a token that changes during a long turn is sent to it, if its protocol is JSON lines.
    pub credentials_live: bool,
}

/// The protocol of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyForm {
    /// Its output is the reply.
    #[default]
    Text,
    /// JSON lines in both directions.
    Jsonl,
}

/// An agent behind a chat completions server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAiSettings {
    /// Address without `/chat/completions`.
    pub base_url: String,
    /// The model.
    pub model: String,
    /// The *name* of the key, resolved only inside the profile.
    pub api_key_env: Option<String>,
    /// The system prompt.
    pub system: Option<String>,
    /// Messages of the conversation in each call.
    pub history: usize,
    /// Timeout of a turn.
    pub timeout: Duration,
}

impl AgentSettings {
    /// Not configured: turns fail with a notice.
    pub const NONE: Self = Self::built_in("none");

    /// A backend that needs nothing of the profile.
    #[must_use]
    pub const fn built_in(backend: &'static str) -> Self {
        Self { backend, resource: AgentResource::Nothing }
    }

    /// The process of a turn, if the backend runs one.
    #[must_use]
    pub fn process(&self) -> Option<&ExecSettings> {
        match &self.resource {
            AgentResource::Process(exec) => Some(exec),
            AgentResource::Nothing | AgentResource::Server(_) => None,
        }
    }

    /// The server that a turn calls, if the backend calls one.
    #[must_use]
    pub fn server(&self) -> Option<&OpenAiSettings> {
        match &self.resource {
            AgentResource::Server(server) => Some(server),
            AgentResource::Nothing | AgentResource::Process(_) => None,
        }
    }

    /// Entries of a conversation that are kept and passed to the agent.
    #[must_use]
    pub fn history(&self) -> usize {
        self.server().map_or(DEFAULT_HISTORY, |server| server.history)
    }

    /// Whether the agent receives the conversation so far.
    #[must_use]
    pub fn reads_history(&self) -> bool {
        self.resource != AgentResource::Nothing
    }

    /// Whether a running agent receives a token that changes.
    #[must_use]
    pub fn receives_tokens(&self) -> bool {
        self.process().is_some_and(|exec| exec.credentials_live && exec.reply == ReplyForm::Jsonl)
    }
}
