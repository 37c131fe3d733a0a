//! How a profile's agent is run: the `agent:` block of `caduceus.yaml`, the profile's own or else the home's.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// Entries of a conversation that are kept unless the profile says otherwise.
pub const DEFAULT_HISTORY: usize = 40;

/// The backend of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSettings {
    /// Nothing is configured: turns fail with a notice.
    None,
    /// Built in; repeats the message.
    Echo,
    /// A command, one process a turn.
    Exec(ExecSettings),
    /// A chat completions server.
    OpenAi(OpenAiSettings),
}

/// An agent that is a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecSettings {
    /// Program and arguments; never empty. `$$` is a dollar; a `${NAME}` reference is refused when it is run.
    pub command: Vec<String>,
    /// Where it runs; the profile's home by default. May hold `${NAME}` references.
    pub cwd: Option<PathBuf>,
    /// Longest turn.
    pub timeout: Duration,
    /// Further names of the process environment that it may see.
    pub env_pass: Vec<String>,
    /// In which form it speaks.
    pub reply: ReplyForm,
    /// Whether a token that changes during a long turn is handed to it, if it converses.
    pub credentials_live: bool,
}

/// In which form an agent speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyForm {
    /// What it prints is the reply.
    #[default]
    Text,
    /// A conversation of JSON lines.
    Jsonl,
}

/// An agent behind a chat completions server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAiSettings {
    /// Address without `/chat/completions`.
    pub base_url: String,
    /// Which model.
    pub model: String,
    /// The *name* of the key, resolved only inside the profile.
    pub api_key_env: Option<String>,
    /// The system prompt.
    pub system: Option<String>,
    /// Messages of the conversation sent along.
    pub history: usize,
    /// Longest turn.
    pub timeout: Duration,
}

impl AgentSettings {
    /// Entries of a conversation that are kept, and handed to the agent.
    #[must_use]
    pub fn history(&self) -> usize {
        match self {
            Self::OpenAi(server) => server.history,
            Self::None | Self::Echo | Self::Exec(_) => DEFAULT_HISTORY,
        }
    }

    /// Whether the agent gets what was said before.
    #[must_use]
    pub fn reads_history(&self) -> bool {
        matches!(self, Self::Exec(_) | Self::OpenAi(_))
    }

    /// Whether an agent that runs gets a token that changes meanwhile.
    #[must_use]
    pub fn hears_of_tokens(&self) -> bool {
        matches!(self, Self::Exec(exec) if exec.credentials_live && exec.reply == ReplyForm::Jsonl)
    }

    /// The stable word of this kind of agent.
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
