//! The `agent:` block of `caduceus.yaml`.

use std::path::PathBuf;
use std::time::Duration;

use super::yaml::Section;
use crate::profile::agent::{AgentSettings, ExecSettings, OpenAiSettings, ReplyForm};

/// Longest turn unless the profile says otherwise.
const DEFAULT_TURN_TIMEOUT: Duration = Duration::from_mins(30);

/// Reads the block; `None` when it is not there, or wrong.
pub(super) fn read(root: &mut Section<'_>) -> Option<AgentSettings> {
    let mut section = root.section("agent");
    if section.is_empty() {
        return None;
    }
    let agent = match section.word("backend", &[("exec", "exec"), ("openai", "openai"), ("echo", "echo")]) {
        Some("exec") => exec(&mut section),
        Some("openai") => openai(&mut section),
        Some(_) => Some(AgentSettings::Echo),
        None => {
            section.wrong::<()>("backend", "one of exec, openai, echo");
            return None;
        }
    };
    section.finish();
    agent
}

fn exec(section: &mut Section<'_>) -> Option<AgentSettings> {
    let command = section.texts("command").filter(|command| !command.is_empty());
    let settings = ExecSettings {
        command: command.clone().unwrap_or_default(),
        cwd: section.text("cwd").map(PathBuf::from),
        timeout: section.seconds("timeout_s").unwrap_or(DEFAULT_TURN_TIMEOUT),
        env_pass: section.texts("env_pass").unwrap_or_default(),
        reply: section.word("reply", &[("text", ReplyForm::Text), ("jsonl", ReplyForm::Jsonl)]).unwrap_or_default(),
        credentials_live: section.word("credentials", &[("live", true), ("fixed", false)]).unwrap_or(false),
    };
    match command {
        Some(_) => Some(AgentSettings::Exec(settings)),
        None => section.wrong("command", "a list: the program and its arguments"),
    }
}

fn openai(section: &mut Section<'_>) -> Option<AgentSettings> {
    let (base_url, model) = (section.text("base_url"), section.text("model"));
    let history = section.count("history").and_then(|count| usize::try_from(count).ok());
    let (api_key_env, system) = (section.text("api_key_env"), section.text("system"));
    let timeout = section.seconds("timeout_s").unwrap_or(DEFAULT_TURN_TIMEOUT);
    let (Some(base_url), Some(model)) = (base_url, model) else {
        return section.wrong("base_url", "an address, with a model beside it");
    };
    Some(AgentSettings::OpenAi(OpenAiSettings {
        base_url,
        model,
        api_key_env,
        system,
        history: history.unwrap_or(40),
        timeout,
    }))
}
