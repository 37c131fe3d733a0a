//! A command, run to its end.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::support::{SOON, binary};

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) error: String,
}

impl Ended {
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
pub(crate) fn caduceus(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let mut command = binary();
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").envs(environment.iter().copied());
    to_the_end(&mut command)
}

/// The same on a home.
pub(crate) fn on(home: &Path, arguments: &[&str]) -> Ended {
    caduceus(&[arguments, &["--home", home.to_str().unwrap()]].concat(), &[])
}

pub(crate) fn to_the_end(command: &mut Command) -> Ended {
    let shown = format!("{command:?}");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id().to_string();
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    let output = ended.recv_timeout(SOON).unwrap_or_else(|_| {
        let _ = Command::new("kill").args(["-9", &id]).status();
        panic!("{shown} did not end in {SOON:?}")
    });
    let output = output.unwrap();
    Ended {
        code: output.status.code(),
        output: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}
