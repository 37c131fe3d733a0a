//! `caduceus secrets` and `caduceus doctor` on the command line.

mod doctor;
mod secrets;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::command::{CommandOutput, run_with_input};
use crate::support::binary;

/// Prefix of every value that must not be shown.
const CANARY: &str = "Canary7h2k";

impl CommandOutput {
    fn json(&self) -> Value {
        serde_json::from_str(&self.output).unwrap_or_else(|error| panic!("{error}: {}{}", self.output, self.error))
    }

    /// The findings above `ok`: level, code.
    fn findings(&self) -> Vec<(String, String)> {
        let report = self.json();
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
        let findings = report["findings"].as_array().unwrap().iter();
        findings
            .map(|finding| (text(finding, "level"), text(finding, "code")))
            .filter(|(level, _)| level != "ok")
            .collect()
    }

    fn assert_shows_no_value(&self) {
        for shown in [&self.output, &self.error] {
            assert!(!shown.contains(CANARY), "a value is shown: {shown}");
        }
    }
}

/// Runs the binary to its end in an environment of its own, with `input` on its standard input.
fn caduceus(arguments: &[&str], input: &[u8], environment: &[(&str, &str)]) -> CommandOutput {
    run_isolated(binary().args(arguments), input, environment)
}

/// Runs a command with an empty directory as its home and no variables but these.
fn run_isolated(command: &mut Command, input: &[u8], environment: &[(&str, &str)]) -> CommandOutput {
    let empty = tempfile::tempdir().unwrap();
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", empty.path()).envs(environment.iter().copied());
    run_with_input(command, input)
}

fn on(home: &Path, command: &[&str]) -> CommandOutput {
    caduceus(&[command, &["--home", home.to_str().unwrap()]].concat(), b"", &[])
}

/// A valid home with an agent that echoes.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "config.yaml", "gateway:\n  multiplex_profiles: true\n");
    write(home.path(), "caduceus.yaml", "agent:\n  backend: exec\n  command: ['true']\n  cwd: './${NEEDED}'\n");
    write(home.path(), ".env", format!("NEEDED={CANARY}-needed\n"));
    fs::create_dir(home.path().join(format!("{CANARY}-needed"))).unwrap();
    home
}

fn write(home: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = home.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn has(findings: &[(String, String)], level: &str, code: &str) -> bool {
    findings.iter().any(|finding| *finding == (level.to_owned(), code.to_owned()))
}
