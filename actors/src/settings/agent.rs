//! The `agent:` block of `caduceus.yaml`.

use std::path::PathBuf;
use std::time::Duration;

use super::yaml::Section;
use crate::profile::agent::{AgentSettings, DEFAULT_HISTORY, ExecSettings, OpenAiSettings, ReplyForm};

/// Longest turn, unless the profile sets another.
const DEFAULT_TURN_TIMEOUT: Duration = Duration::from_mins(30);

/// Reads the block; `None` if it is missing or invalid.
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
    if settings.credentials_live && settings.reply == ReplyForm::Text {
        // The input of the agent is closed after the document, so a changed token could not be sent to it.
        return section.wrong("credentials", "live only with reply: jsonl");
    }
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
    if api_key_env.as_deref().is_some_and(|name| !is_name(name)) {
        // Names are shown in logs and in the status, so a key in the place of its name must be refused.
        return section.wrong("api_key_env", "the name of a variable that holds the key, not the key");
    }
    let (Some(base_url), Some(model)) = (base_url, model) else {
        return section.wrong("base_url", "an address, with a model beside it");
    };
    Some(AgentSettings::OpenAi(OpenAiSettings {
        base_url,
        model,
        api_key_env,
        system,
        history: history.unwrap_or(DEFAULT_HISTORY),
        timeout,
    }))
}

/// Whether `text` is the name of a variable, by the rules of a shell.
fn is_name(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 64 && text.chars().all(word) && !text.starts_with(|c: char| c.is_ascii_digit()) && !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_agent_without_jsonl_cannot_have_live_credentials() {
        for (reply, good) in [("text", false), ("jsonl", true)] {
            let agent = json!({"backend": "exec", "command": ["a"], "reply": reply, "credentials": "live"});
            let mut problems = Vec::new();
            let mut root = Section::root([("agent".to_owned(), agent)].into_iter().collect(), &mut problems);
            assert_eq!(read(&mut root).is_some_and(|agent| agent.hears_of_tokens()), good, "{reply}");
            root.finish();
            assert_eq!(problems.is_empty(), good, "{problems:?}");
        }
    }

    #[test]
    fn a_key_in_the_place_of_its_name_is_a_mistake_and_is_not_shown() {
        for (name, good) in [("OPENAI_API_KEY", true), ("k2", true), ("sk-hunter2", false), ("", false), ("2K", false)]
        {
            let agent = json!({"backend": "openai", "base_url": "http://h", "model": "m", "api_key_env": name});
            let mut problems = Vec::new();
            let mut root = Section::root([("agent".to_owned(), agent)].into_iter().collect(), &mut problems);
            assert_eq!(read(&mut root).is_some(), good, "{name}");
            root.finish();
            assert_eq!(problems.is_empty(), good, "{problems:?}");
            assert!(!problems.concat().contains("hunter2"), "{problems:?}");
        }
    }
}
