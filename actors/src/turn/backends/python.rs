//! An agent that is a Python file: a process per turn, as with `exec`.

use crate::profile::agent::{AgentResource, ExecSettings, ReplyForm};
use crate::settings::yaml::Section;
use crate::turn::backend::{AgentBackend, DEFAULT_TURN_TIMEOUT};

use super::exec;

/// The backend `python`.
pub(super) const BACKEND: AgentBackend =
    AgentBackend { name: "python", read, run: |turn, agent, commands| Box::pin(exec::run(turn, agent, commands)) };

fn read(section: &mut Section<'_>) -> Option<AgentResource> {
    let Some(script) = section.text("script") else { return section.wrong("script", "the file to run") };
    Some(AgentResource::Process(ExecSettings {
        command: vec!["python3".to_owned(), script],
        cwd: None,
        timeout: section.seconds("timeout_s").unwrap_or(DEFAULT_TURN_TIMEOUT),
        env_pass: Vec::new(),
        reply: ReplyForm::Text,
        credentials_live: false,
    }))
}
