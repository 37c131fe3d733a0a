//! The configuration of a profile's agent: the `agent:` block of `caduceus.yaml`, the profile's own or else the home's.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// Entries of a conversation that are kept by default.
pub const DEFAULT_HISTORY: usize = 40;

/// The backend of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSettings {
    /// Not configured: turns fail with a notice.
    None,
    /// Built in; repeats the message.
    Echo,
    /// A command, one process per turn.
    Exec(ExecSettings),
    /// A chat completions server.
    OpenAi(OpenAiSettings),
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
    /// Entries of a conversation that are kept and passed to the agent.
    #[must_use]
    pub fn history(&self) -> usize {
        match self {
            Self::OpenAi(server) => server.history,
            Self::None | Self::Echo | Self::Exec(_) => DEFAULT_HISTORY,
        }
    }

    /// Whether the agent receives the conversation so far.
    #[must_use]
    pub fn reads_history(&self) -> bool {
        matches!(self, Self::Exec(_) | Self::OpenAi(_))
    }

    /// Whether a running agent receives a token that changes.
    #[must_use]
    pub fn hears_of_tokens(&self) -> bool {
        matches!(self, Self::Exec(exec) if exec.credentials_live && exec.reply == ReplyForm::Jsonl)
    }

    /// The stable name of this kind of agent.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Echo => "echo",
            Self::Exec(_) => "exec",
            Self::OpenAi(_) => "openai",
        }
    }
}
