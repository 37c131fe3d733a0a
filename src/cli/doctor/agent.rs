//! Whether a profile's agent could be started: the same steps as starting it, up to the last.

use std::path::{Path, PathBuf};

use caduceus_actors::profile::agent::{AgentSettings, ExecSettings};
use caduceus_actors::profile::reference;
use caduceus_actors::profile::scope::Scope;
use rustix::fs::Access;

/// Where a program is looked for when there is no `PATH`; the C library's own choice.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What was found of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AgentFact {
    /// None is configured.
    None,
    /// It is no process.
    NoProcess,
    /// A command, by its first word as configured.
    Command { word: String, found: Found },
}

/// What was found of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// It can be run.
    Yes,
    /// A name it refers to is not set, which is a finding of its own.
    Unresolved,
    /// Its working directory, as configured, is not there.
    NoDirectory(PathBuf),
    /// It is in no directory of `PATH`, or not where its path says.
    NotThere,
    /// It is there and may not be run.
    NotExecutable,
}

/// Looks for the agent of a profile whose home is `home`, with the `PATH` that its child would have.
pub(super) fn look(agent: &AgentSettings, home: &Path, scope: &Scope, path: Option<&str>) -> AgentFact {
    match agent {
        AgentSettings::None => AgentFact::None,
        AgentSettings::Echo | AgentSettings::OpenAi(_) => AgentFact::NoProcess,
        AgentSettings::Exec(exec) => {
            let word = exec.command.first().cloned().unwrap_or_default();
            let found = look_for(exec, home, scope, path).unwrap_or(Found::Unresolved);
            AgentFact::Command { word, found }
        }
    }
}

/// `None` if a name is not set.
fn look_for(exec: &ExecSettings, home: &Path, scope: &Scope, path: Option<&str>) -> Option<Found> {
    let resolve = |text: &str| reference::resolve(text, scope).ok();
    let cwd = match exec.cwd.as_deref().map(|cwd| (cwd, cwd.to_str())) {
        None => home.to_owned(),
        Some((_, Some(text))) => home.join(&**resolve(text)?),
        Some((cwd, None)) => home.join(cwd),
    };
    if !cwd.is_dir() {
        return Some(Found::NoDirectory(exec.cwd.clone().unwrap_or_default()));
    }
    let program = resolve(exec.command.first()?)?;
    Some(search(&program, &cwd, path.unwrap_or(DEFAULT_PATH)))
}

/// Looks for a program as the system does.
fn search(program: &str, cwd: &Path, path: &str) -> Found {
    let places: Vec<PathBuf> = if program.contains('/') {
        vec![cwd.join(program)]
    } else {
        // An empty place is the working directory.
        path.split(':').map(|place| cwd.join(place).join(program)).collect()
    };
    let mut found = Found::NotThere;
    for place in places.iter().filter(|place| !program.is_empty() && place.exists()) {
        if place.is_file() && rustix::fs::access(place, Access::EXEC_OK).is_ok() {
            return Found::Yes;
        }
        found = Found::NotExecutable;
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_program_is_found_where_the_system_would_find_it() {
        let home = tempfile::tempdir().unwrap();
        let (first, second) = (home.path().join("first"), home.path().join("second"));
        for directory in [&first, &second] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join("agent"), "#!/bin/sh\n").unwrap();
        }
        let search = |program: &str, path: &str| search(program, home.path(), path);
        let both = format!("{}:{}", first.display(), second.display());
        assert_eq!(search("agent", &both), Found::NotExecutable);
        fs::set_permissions(second.join("agent"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(search("agent", &both), Found::Yes, "one that may not be run does not hide the next");
        assert_eq!(search("second/agent", "/nowhere"), Found::Yes, "a path is taken from the working directory");
        assert_eq!(search("agent", "second"), Found::Yes);
        assert_eq!(search("agent", "/nowhere"), Found::NotThere);
        assert_eq!(search("first", ""), Found::NotExecutable, "a directory is no program");
        assert_eq!(search("", &both), Found::NotThere);
    }
}
