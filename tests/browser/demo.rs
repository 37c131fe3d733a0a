//! `caduceus demo` as a child, known by what it prints.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use crate::support::SOON;

/// A running demonstration, killed when dropped.
pub(crate) struct Demo {
    child: Child,
    /// The web chat.
    pub(crate) chat: String,
    /// The status page.
    pub(crate) status: String,
    home: PathBuf,
    lines: Receiver<String>,
}

impl Demo {
    /// Starts it and reads what a person is told to open.
    pub(crate) fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_caduceus"))
            .arg("demo")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Ctrl-C reaches everybody in the group of the foreground.
            .process_group(0)
            .spawn()
            .expect("the binary starts");
        let output = child.stdout.take().expect("standard output is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut demo = Self { child, chat: String::new(), status: String::new(), home: PathBuf::new(), lines };
        let (chat, status) = (demo.told("  chat:"), demo.told("  status:"));
        chat.trim().clone_into(&mut demo.chat);
        status.trim().clone_into(&mut demo.status);
        let home = demo.told("The home is ");
        demo.home = PathBuf::from(home.split(". ").next().expect("the home is named"));
        demo
    }

    /// The rest of the first line that starts with `words`.
    fn told(&self, words: &str) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("the demonstration did not print {words:?} in {SOON:?}"));
            if let Some(rest) = line.strip_prefix(words) {
                return rest.to_owned();
            }
        }
    }

    /// Ends it as Ctrl-C does: it says goodbye, exits with 0 and leaves nothing behind.
    pub(crate) fn interrupt(mut self) {
        assert!(self.home.join("caduceus.yaml").exists(), "the home is there while it runs");
        self.signal("INT");
        self.told("The temporary home is gone");
        let deadline = Instant::now() + SOON;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                break status;
            }
            assert!(Instant::now() < deadline, "the demonstration did not end in {SOON:?}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        assert!(status.success(), "the demonstration ended with {status}");
        assert!(!self.home.exists(), "the home was left behind");
    }

    fn signal(&self, name: &str) {
        let group = format!("-{}", self.child.id());
        let status = Command::new("kill").args(["-s", name, "--", &group]).status().expect("kill runs");
        assert!(status.success(), "the demonstration is there to get {name}");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // One that was waited for has no process left to be found by its number.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let _ = std::fs::remove_dir_all(&self.home);
        }
    }
}
