//! `caduceus demo` as a child process, observed by its output.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use crate::support::{SOON, wait_for_exit};

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
    /// Starts it and reads the addresses that it prints.
    pub(crate) fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_caduceus"))
            .arg("demo")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Ctrl-C reaches every process of the foreground group.
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
        let (chat, status) = (demo.printed("  chat:"), demo.printed("  status:"));
        chat.trim().clone_into(&mut demo.chat);
        status.trim().clone_into(&mut demo.status);
        let home = demo.printed("The home is ");
        demo.home = PathBuf::from(home.split(". ").next().expect("the output names the home"));
        demo
    }

    /// The rest of the first line that starts with `words`.
    fn printed(&self, words: &str) -> String {
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

    /// Ends it as Ctrl-C does: it exits with 0 and removes its files.
    pub(crate) fn interrupt(mut self) {
        assert!(self.home.join("caduceus.yaml").exists(), "the home exists while the demonstration runs");
        self.signal("INT");
        self.printed("The temporary home is removed");
        let status = wait_for_exit(&mut self.child, SOON);
        assert!(status.success(), "the demonstration ended with {status}");
        assert!(!self.home.exists(), "the home was not removed");
    }

    fn signal(&self, name: &str) {
        let group = format!("-{}", self.child.id());
        let status = Command::new("kill").args(["-s", name, "--", &group]).status().expect("kill runs");
        assert!(status.success(), "{name} was not sent to the demonstration");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // After a wait the process id is no longer this process's.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let _ = std::fs::remove_dir_all(&self.home);
        }
    }
}
