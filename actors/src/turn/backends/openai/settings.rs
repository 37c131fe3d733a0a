//! The keys of the backend `openai`.

use crate::profile::agent::{AgentResource, DEFAULT_HISTORY, OpenAiSettings};
use crate::settings::yaml::Section;
use crate::turn::backend::DEFAULT_TURN_TIMEOUT;

/// Reads them.
pub(super) fn read(section: &mut Section<'_>) -> Option<AgentResource> {
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
    Some(AgentResource::Server(OpenAiSettings {
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
