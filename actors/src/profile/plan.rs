//! The problems of a profile: its configuration, its `.env`, its disk, its agent and its link.

use std::path::{Path, PathBuf};

use super::agent::messages::SpawnError;
use super::agent::{AgentResource, AgentSettings, ExecSettings};
use super::reference;
use super::scope::Scope;
use caduceus_contract::messages::profile::ProfileState;

/// A name that the configuration needs and the scope lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Missing {
    /// The key of the configuration that refers to it.
    pub key: &'static str,
    /// The name.
    pub name: String,
}

/// The problems of a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Health {
    /// Found in its own configuration at start.
    pub(super) problems: Vec<String>,
    /// The disk under its home does not answer.
    pub(super) disk: Option<String>,
    /// Why its `.env` cannot be read.
    pub(super) file: Option<String>,
    /// Why its agent cannot be run.
    pub(super) agent: Option<String>,
    /// Problems in its settings of the relay.
    pub(super) relay: Option<&'static str>,
    /// Why its settings make no link of their own.
    pub(super) link: Option<String>,
    /// The names that its scope lacks.
    pub(super) missing: Vec<Missing>,
}

impl Health {
    pub(super) fn state(&self) -> ProfileState {
        if self.reasons().is_empty() { ProfileState::Ready } else { ProfileState::Degraded }
    }

    /// Why it is degraded, one sentence each.
    pub(super) fn reasons(&self) -> Vec<String> {
        let file =
            self.file.as_ref().map(|reason| format!(".env cannot be used, so the profile has no secrets: {reason}"));
        let relay = self.relay.map(str::to_owned).into_iter().chain(self.link.clone());
        let missing =
            self.missing.iter().map(|missing| format!("{} needs {}, which is not set", missing.key, missing.name));
        // The files of its configuration may hang in the same way.
        let disk = self.disk.clone().filter(|problem| !self.problems.contains(problem));
        self.problems
            .iter()
            .cloned()
            .chain(disk)
            .chain(file)
            .chain(relay)
            .chain(missing)
            .chain(self.agent.clone())
            .collect()
    }
}

/// The command line of an agent.
///
/// # Errors
/// The command refers to a name. Every process of the machine can read the arguments of another, so no value may be in them.
pub(super) fn command(exec: &ExecSettings) -> Result<Vec<String>, SpawnError> {
    words(exec).map_err(|name| SpawnError::CommandNotFound {
        command: exec.command.first().cloned().unwrap_or_default(),
        reason: format!(
            "agent.command refers to {name}, whose value every user could read in the list of processes; have the agent read \
             {name} from its environment"
        ),
    })
}

/// The same; the error is the name.
pub(super) fn words(exec: &ExecSettings) -> Result<Vec<String>, &str> {
    exec.command.iter().map(|word| reference::plain(word)).collect()
}

/// The working directory of an agent of a profile with this `home`.
///
/// # Errors
/// A name that it refers to and `scope` lacks.
pub(super) fn cwd<'a>(exec: &'a ExecSettings, home: &Path, scope: &Scope) -> Result<PathBuf, &'a str> {
    let Some(cwd) = &exec.cwd else { return Ok(home.to_owned()) };
    match cwd.to_str() {
        Some(text) => Ok(home.join(&**reference::resolve(text, scope)?)),
        None => Ok(home.join(cwd)),
    }
}

/// The names that `agent` needs and `scope` lacks, sorted, once per key.
pub(super) fn missing(agent: &AgentSettings, scope: &Scope) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut need = |key: &'static str, name: &str| {
        if scope.get(name).is_none() {
            missing.push(Missing { key, name: name.to_owned() });
        }
    };
    match &agent.resource {
        AgentResource::Nothing => {}
        AgentResource::Process(exec) => {
            let cwd = exec.cwd.as_deref().and_then(Path::to_str);
            cwd.into_iter().flat_map(reference::names).for_each(|name| need("agent.cwd", name));
        }
        AgentResource::Server(openai) => {
            openai.api_key_env.iter().for_each(|name| need("agent.api_key_env", name));
            reference::names(&openai.base_url).for_each(|name| need("agent.base_url", name));
        }
    }
    missing.sort_unstable();
    missing.dedup();
    missing
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::exploration::assert_value;
    use crate::profile::agent::ReplyForm;
    use crate::profile::env_file::parse;

    fn exec(command: &[&str], cwd: Option<&str>) -> ExecSettings {
        ExecSettings {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            cwd: cwd.map(PathBuf::from),
            timeout: Duration::from_secs(1),
            env_pass: Vec::new(),
            reply: ReplyForm::Text,
            credentials_live: false,
        }
    }

    fn agent(cwd: Option<&str>) -> AgentSettings {
        AgentSettings { backend: "exec", resource: AgentResource::Process(exec(&["run", "$${C}"], cwd)) }
    }

    #[test]
    fn a_reference_to_an_unset_name_is_missing_with_its_key() {
        let scope = Scope::new(&parse("A=1"), None);
        let agent = agent(Some("${A}/${D}${D}/${B}/$${C}"));
        let missing = missing(&agent, &scope);
        let shown: Vec<_> = missing.iter().map(|missing| (missing.key, missing.name.as_str())).collect();
        assert_eq!(shown, [("agent.cwd", "B"), ("agent.cwd", "D")]);
    }

    #[test]
    fn a_needed_name_with_a_blank_value_is_missing() {
        for blank in ["K=", "K=''", "K= "] {
            let missing = missing(&agent(Some("${K}")), &Scope::new(&parse(blank), None));
            assert_eq!(missing, [Missing { key: "agent.cwd", name: "K".into() }], "{blank}");
        }
    }

    #[test]
    fn a_command_with_a_reference_is_refused_with_its_key_whether_or_not_the_name_is_set() {
        assert_eq!(command(&exec(&["run", "$${A}"], None)), Ok(vec!["run".to_owned(), "${A}".to_owned()]));
        let refused = command(&exec(&["run", "--key=${A}"], None)).unwrap_err().to_string();
        assert!(refused.contains("agent.command refers to A,") && refused.contains("environment"), "{refused}");
    }

    #[test]
    fn health_is_a_value() {
        assert_value::<Health>();
    }

    #[test]
    fn a_problem_degrades_the_profile() {
        assert_eq!(Health::default().state(), ProfileState::Ready);
        let file = Health { file: Some("not UTF-8".into()), ..Health::default() };
        assert_eq!(file.state(), ProfileState::Degraded);
        let missing = Missing { key: "agent.cwd", name: "B".into() };
        let missing = Health { missing: vec![missing], ..Health::default() };
        assert_eq!(missing.reasons(), ["agent.cwd needs B, which is not set"]);
        assert_eq!(missing.state(), ProfileState::Degraded);
    }
}
