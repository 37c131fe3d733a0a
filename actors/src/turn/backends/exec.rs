//! An agent that is a command: one process per turn.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::profile::agent::messages::SpawnChild;
use crate::profile::agent::{AgentResource, AgentSettings, ExecSettings, ReplyForm};
use crate::settings::yaml::Section;
use crate::turn::backend::{AgentBackend, DEFAULT_TURN_TIMEOUT};
use crate::turn::command::{TurnCommands, stopped};
use crate::turn::process::AgentProcess;
use crate::turn::run::AgentRun;
use crate::turn::state::TurnState;
use crate::turn::verdict;
use caduceus_contract::messages::turn::TurnOutcome;

/// Timeout of a start: a check of the disk, a fresh token, a fork.
const SPAWN_TIMEOUT: Duration = Duration::from_secs(45);

/// The backend `exec`.
pub(super) const BACKEND: AgentBackend =
    AgentBackend { name: "exec", read, run: |turn, agent, commands| Box::pin(run(turn, agent, commands)) };

fn read(section: &mut Section<'_>) -> Option<AgentResource> {
    let command = section.texts("command").filter(|command| !command.is_empty());
    let settings = ExecSettings {
        command: command.clone().unwrap_or_default(),
        cwd: section.text("cwd").map(PathBuf::from),
        timeout: section.seconds("timeout_s").unwrap_or(DEFAULT_TURN_TIMEOUT),
        env_pass: section.texts("env_pass").unwrap_or_default(),
        reply: section.word("reply", &[("text", ReplyForm::Text), ("jsonl", ReplyForm::Jsonl)]).unwrap_or_default(),
        credentials_live: section.word("credentials", &[("live", true), ("fixed", false)]).unwrap_or(false),
    };
    if settings.credentials_live && settings.reply == ReplyForm::Text {
        // The input of the agent is closed after the document, so a changed token could not be sent to it.
        return section.wrong("credentials", "live only with reply: jsonl");
    }
    match command {
        Some(_) => Some(AgentResource::Process(settings)),
        None => section.wrong("command", "a list: the program and its arguments"),
    }
}

/// Runs the turn of an agent that is a process.
pub(super) async fn run(turn: &mut TurnState, agent: &Arc<AgentSettings>, commands: &mut TurnCommands) -> TurnOutcome {
    let Some(exec) = agent.process() else { return verdict::no_agent() };
    let spawn = SpawnChild {
        agent: Arc::clone(agent),
        turn: turn.work.id,
        session: turn.work.session.clone(),
        attempt: turn.work.attempt,
    };
    let answer = turn.ports.agent.spawn.ask(spawn, SPAWN_TIMEOUT);
    let child = tokio::select! {
        biased;
        // A child that is started nevertheless ends when its answer is dropped.
        cause = stopped(commands) => return TurnOutcome::Stopped(cause),
        child = answer => child,
    };
    let child = match child {
        Ok(Ok(child)) => child,
        Ok(Err(error)) => {
            warn!(turn = %turn.work.id, %error, "agent not started");
            return verdict::not_started(&error);
        }
        Err(error) => {
            warn!(turn = %turn.work.id, %error, "profile did not start the agent");
            return verdict::no_answer();
        }
    };
    match AgentProcess::new(child, turn.work.id, turn.ports.redactor.clone()) {
        Ok(process) => AgentRun::new(turn, exec, process).watch(commands).await,
        Err(error) => {
            warn!(turn = %turn.work.id, %error, "agent's pipes cannot be served");
            return verdict::no_answer();
        }
    }
    let whole = turn.verdict.outcome() == TurnOutcome::Done;
    turn.end_reply(whole, commands).await;
    turn.verdict.outcome()
}
