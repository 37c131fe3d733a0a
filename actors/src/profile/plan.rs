//! What is wrong with a profile, judged from what is known of it.

use super::agent::AgentSettings;
use super::messages::ProfileState;
use super::reference;
use super::scope::Scope;

/// A name that the configuration needs and the scope lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// The key of the configuration that refers to it.
    pub key: &'static str,
    /// The name.
    pub name: String,
}

/// What can be wrong with a profile.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Found in its own configuration at start.
    pub(super) problems: Vec<String>,
    /// Why its `.env` cannot be read.
    pub(super) file: Option<String>,
    /// Why its agent cannot be run.
    pub(super) agent: Option<String>,
    /// What is odd about its settings of the relay.
    pub(super) relay: Option<&'static str>,
    /// What its scope lacks.
    pub(super) missing: Vec<Missing>,
}

impl Health {
    pub(super) fn state(&self) -> ProfileState {
        if self.troubles().is_empty() { ProfileState::Ready } else { ProfileState::Degraded }
    }

    /// One sentence each.
    pub(super) fn troubles(&self) -> Vec<String> {
        let file = self.file.as_ref().map(|reason| format!(".env cannot be used, so no secret is there: {reason}"));
        let relay = self.relay.map(str::to_owned);
        let missing =
            self.missing.iter().map(|missing| format!("{} needs {}, which is not set", missing.key, missing.name));
        self.problems.iter().cloned().chain(file).chain(relay).chain(missing).chain(self.agent.clone()).collect()
    }
}

/// The names that `agent` needs and `scope` lacks, sorted, each once a key.
pub(super) fn missing(agent: &AgentSettings, scope: &Scope) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut need = |key: &'static str, name: &str| {
        if scope.get(name).is_none() {
            missing.push(Missing { key, name: name.to_owned() });
        }
    };
    match agent {
        AgentSettings::Exec(exec) => {
            let cwd = exec.cwd.as_deref().and_then(std::path::Path::to_str);
            exec.command.iter().flat_map(|word| reference::names(word)).for_each(|name| need("agent.command", name));
            cwd.into_iter().flat_map(reference::names).for_each(|name| need("agent.cwd", name));
        }
        AgentSettings::OpenAi(openai) => {
            openai.api_key_env.iter().for_each(|name| need("agent.api_key_env", name));
            reference::names(&openai.base_url).for_each(|name| need("agent.base_url", name));
        }
        AgentSettings::Echo | AgentSettings::None => {}
    }
    missing.sort_unstable();
    missing.dedup();
    missing
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::profile::agent::{ExecSettings, ReplyForm};
    use crate::profile::env_file::parse;

    fn exec(command: &[&str], cwd: Option<&str>) -> AgentSettings {
        AgentSettings::Exec(ExecSettings {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            cwd: cwd.map(PathBuf::from),
            timeout: Duration::from_secs(1),
            env_pass: Vec::new(),
            reply: ReplyForm::Text,
            credentials_live: false,
        })
    }

    #[test]
    fn a_name_that_is_referred_to_and_not_held_is_missing_with_its_key() {
        let scope = Scope::new(&parse("A=1"), None);
        let agent = exec(&["run", "${A}", "${B}${B}", "$${C}"], Some("${D}/x"));
        let missing = missing(&agent, &scope);
        let shown: Vec<_> = missing.iter().map(|missing| (missing.key, missing.name.as_str())).collect();
        assert_eq!(shown, [("agent.command", "B"), ("agent.cwd", "D")]);
    }

    #[test]
    fn anything_wrong_degrades_and_nothing_wrong_does_not() {
        assert_eq!(Health::default().state(), ProfileState::Ready);
        let file = Health { file: Some("not UTF-8".into()), ..Health::default() };
        assert_eq!(file.state(), ProfileState::Degraded);
        let missing = Missing { key: "agent.command", name: "B".into() };
        let missing = Health { missing: vec![missing], ..Health::default() };
        assert_eq!(missing.troubles(), ["agent.command needs B, which is not set"]);
        assert_eq!(missing.state(), ProfileState::Degraded);
    }
}
