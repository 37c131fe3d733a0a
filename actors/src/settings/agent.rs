//! The `agent:` block of `caduceus.yaml`: which backend. Its other keys are read by the backend.

use super::yaml::Section;
use crate::profile::agent::AgentSettings;
use crate::turn::backends::BACKENDS;

/// Reads the block; `None` if it is missing or invalid.
pub(super) fn read(root: &mut Section<'_>) -> Option<AgentSettings> {
    let mut section = root.section("agent");
    if section.is_empty() {
        return None;
    }
    let words: Vec<_> = BACKENDS.iter().map(|backend| (backend.name, backend)).collect();
    let Some(backend) = section.word("backend", &words) else {
        let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
        section.wrong::<()>("backend", &format!("one of {}", names.join(", ")));
        return None;
    };
    let resource = (backend.read)(&mut section);
    section.finish();
    Some(AgentSettings { backend: backend.name, resource: resource? })
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
            assert_eq!(read(&mut root).is_some_and(|agent| agent.receives_tokens()), good, "{reply}");
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
