//! Whether a profile's agent could be started: the same steps as starting it, up to the last.

use std::path::{Path, PathBuf};

use caduceus_actors::profile::agent::{AgentResource, AgentSettings, ExecSettings};
use caduceus_actors::profile::inspect::Inspection;
use rustix::fs::Access;

/// The search path without `PATH`; the default of the C library.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What was found of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AgentFact {
    /// None is configured.
    None,
    /// It is not a process.
    NoProcess,
    /// A command, by its first word as configured.
    Command { word: String, found: CommandFound },
}

/// What was found of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CommandFound {
    /// It can be run.
    Yes,
    /// A name that its working directory refers to is not set, which is a separate finding.
    Unresolved,
    /// An argument refers to this name, whose value every user could read in the list of processes.
    Refers(String),
    /// Its working directory, as configured, is not there.
    NoDirectory(PathBuf),
    /// It is in no directory of `PATH`, or not at its path.
    NotThere,
    /// It exists and is not executable.
    NotExecutable,
}

/// Finds the agent of the profile in `home`, with the `PATH` of its child.
pub(super) fn inspect(agent: &AgentSettings, home: &Path, inspection: &Inspection, path: Option<&str>) -> AgentFact {
    match &agent.resource {
        _ if *agent == AgentSettings::NONE => AgentFact::None,
        AgentResource::Nothing | AgentResource::Server(_) => AgentFact::NoProcess,
        AgentResource::Process(exec) => {
            let word = exec.command.first().cloned().unwrap_or_default();
            let found = find_command(exec, home, inspection, path).unwrap_or(CommandFound::Unresolved);
            AgentFact::Command { word, found }
        }
    }
}

/// `None` if a name is not set.
fn find_command(exec: &ExecSettings, home: &Path, inspection: &Inspection, path: Option<&str>) -> Option<CommandFound> {
    let words = match inspection.command(exec) {
        Ok(words) => words,
        Err(name) => return Some(CommandFound::Refers(name.to_owned())),
    };
    let cwd = inspection.cwd(exec, home).ok()?;
    if !cwd.is_dir() {
        return Some(CommandFound::NoDirectory(exec.cwd.clone().unwrap_or_default()));
    }
    Some(search(words.first()?, &cwd, path.unwrap_or(DEFAULT_PATH)))
}

/// Searches for a program as the system does.
fn search(program: &str, cwd: &Path, path: &str) -> CommandFound {
    let places: Vec<PathBuf> = if program.contains('/') {
        vec![cwd.join(program)]
    } else {
        // An empty place is the working directory.
        path.split(':').map(|place| cwd.join(place).join(program)).collect()
    };
    let mut found = CommandFound::NotThere;
    for place in places.iter().filter(|place| !program.is_empty() && place.exists()) {
        if place.is_file() && rustix::fs::access(place, Access::EXEC_OK).is_ok() {
            return CommandFound::Yes;
        }
        found = CommandFound::NotExecutable;
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use caduceus_actors::profile::agent::ReplyForm;
    use caduceus_actors::profile::env_file::parse;

    use super::*;

    #[test]
    fn a_reference_in_any_word_of_a_command_is_found_also_where_the_name_is_set() {
        let home = tempfile::tempdir().unwrap();
        let exec = |command: &[&str]| {
            let resource = AgentResource::Process(ExecSettings {
                command: command.iter().map(|word| (*word).to_owned()).collect(),
                cwd: None,
                timeout: Duration::from_secs(1),
                env_pass: Vec::new(),
                reply: ReplyForm::Text,
                credentials_live: false,
            });
            AgentSettings { backend: "exec", resource }
        };
        let inspection = Inspection::of(parse("KEY=sh"));
        let found = |command: &[&str]| match inspect(&exec(command), home.path(), &inspection, Some("/bin:/usr/bin")) {
            AgentFact::Command { found, .. } => found,
            other => panic!("{other:?}"),
        };
        assert_eq!(found(&["sh", "-c", "run --key=${KEY}"]), CommandFound::Refers("KEY".into()));
        assert_eq!(found(&["${KEY}"]), CommandFound::Refers("KEY".into()));
        assert_eq!(found(&["sh", "-c", "echo $$ $${KEY} $KEY"]), CommandFound::Yes);
    }

    #[test]
    fn a_program_is_found_as_the_system_finds_it() {
        let home = tempfile::tempdir().unwrap();
        let (first, second) = (home.path().join("first"), home.path().join("second"));
        for directory in [&first, &second] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join("agent"), "#!/bin/sh\n").unwrap();
        }
        let search = |program: &str, path: &str| search(program, home.path(), path);
        let both = format!("{}:{}", first.display(), second.display());
        assert_eq!(search("agent", &both), CommandFound::NotExecutable);
        fs::set_permissions(second.join("agent"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(search("agent", &both), CommandFound::Yes, "one that may not be run does not hide the next");
        assert_eq!(search("second/agent", "/nowhere"), CommandFound::Yes, "a path is taken from the working directory");
        assert_eq!(search("agent", "second"), CommandFound::Yes);
        assert_eq!(search("agent", "/nowhere"), CommandFound::NotThere);
        assert_eq!(search("first", ""), CommandFound::NotExecutable, "a directory is no program");
        assert_eq!(search("", &both), CommandFound::NotThere);
    }
}
