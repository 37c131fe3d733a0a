//! A command, run to its end.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use crate::support::{SOON, binary, output_of};

/// The exit code and the output of a command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) error: String,
}

impl CommandOutput {
    /// Asserts the code, and shows everything if it is another one.
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn contains_text(self, words: &str) -> Self {
        assert!(format!("{}{}", self.output, self.error).contains(words), "{words:?} in {self:?}");
        self
    }
}

/// Runs the binary to its end with no environment but `environment`.
pub(crate) fn caduceus(arguments: &[&str], environment: &[(&str, &str)]) -> CommandOutput {
    let mut command = binary();
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").envs(environment.iter().copied());
    run_to_end(&mut command)
}

/// The same on a home.
pub(crate) fn on(home: &Path, arguments: &[&str]) -> CommandOutput {
    caduceus(&[arguments, &["--home", home.to_str().unwrap()]].concat(), &[])
}

pub(crate) fn run_to_end(command: &mut Command) -> CommandOutput {
    run_with_input(command, b"")
}

/// Runs a command with `input` on its standard input.
pub(crate) fn run_with_input(command: &mut Command, input: &[u8]) -> CommandOutput {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A command may end before it has read its input.
    let feeder = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = output_of(child, &format!("{command:?}"), SOON);
    feeder.join().unwrap();
    CommandOutput {
        code: output.status.code(),
        output: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}
