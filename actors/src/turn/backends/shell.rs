//! An agent that is a line of shell: `sh -c`, one process a turn, which prints the reply.

use std::sync::Arc;

use super::exec;
use crate::profile::agent::{AgentResource, AgentSettings, ExecSettings, ReplyForm};
use crate::settings::yaml::Section;
use crate::turn::backend::{AgentBackend, DEFAULT_TURN_TIMEOUT};
use crate::turn::command::TurnCommands;
use crate::turn::state::TurnState;
use caduceus_contract::messages::turn::TurnOutcome;

/// The backend `shell`.
pub(super) const BACKEND: AgentBackend =
    AgentBackend { name: "shell", read, run: |turn, agent, commands| Box::pin(run(turn, agent, commands)) };

fn read(section: &mut Section<'_>) -> Option<AgentResource> {
    let timeout = section.seconds("timeout_s").unwrap_or(DEFAULT_TURN_TIMEOUT);
    let Some(script) = section.text("script").filter(|script| !script.trim().is_empty()) else {
        return section.wrong("script", "a line of shell");
    };
    // The variables of a script are the shell's, so no `$` of it is a reference of ours.
    let command = vec!["sh".to_owned(), "-c".to_owned(), script.replace('$', "$$")];
    Some(AgentResource::Process(ExecSettings {
        command,
        cwd: None,
        timeout,
        env_pass: Vec::new(),
        reply: ReplyForm::Text,
        credentials_live: false,
    }))
}

async fn run(turn: &mut TurnState, agent: &Arc<AgentSettings>, commands: &mut TurnCommands) -> TurnOutcome {
    exec::run(turn, agent, commands).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_script_reaches_the_shell_as_it_is_written_and_an_empty_one_is_a_mistake() {
        for (script, good) in [("echo ${HOME} $$", true), (" ", false)] {
            let mut problems = Vec::new();
            let map = [("script".to_owned(), json!(script))].into_iter().collect();
            let mut section = Section::root(map, &mut problems);
            let resource = (BACKEND.read)(&mut section);
            section.finish();
            assert_eq!(problems.is_empty(), good, "{problems:?}");
            let Some(AgentResource::Process(exec)) = resource else {
                assert!(!good);
                continue;
            };
            assert_eq!(exec.command, ["sh", "-c", "echo $${HOME} $$$$"]);
        }
    }
}
