//! Standard output and standard error: the only place of this program that writes to them.
//!
//! The standard library's macros panic when the other end is gone, and block while it does not read. Here a command continues
//! without a reader, and reports a failed write by its exit code; a long-running process never waits for a reader.
//! Nothing is buffered: when a function returns, the kernel has the bytes. Control characters are escaped
//! (`terminal.rs`).

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use caduceus_contract::api::announcement::ListenAnnouncement;
use serde_json::{Value, json};

use crate::cli::log;
use crate::stream::Stream;
use crate::terminal;

/// Exit code: the command did its work, and its output could not be written.
pub(crate) const OUTPUT_FAILED: u8 = 74;

/// How long a message on standard error may take; after that the process continues without it.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether something meant for standard output was lost although there is a reader.
static LOST: AtomicBool = AtomicBool::new(false);

/// Writes the result of a command to standard output. A reader that has closed its end is not an error; any other error is printed
/// on standard error and becomes the exit code.
pub(crate) fn print(text: &str) {
    record(Stream::Output.write(terminal::text(text).as_bytes()).1);
}

/// Writes one JSON document and the end of its line, as [`print()`] does.
pub(crate) fn print_json(value: &Value, pretty: bool) {
    let text = if pretty { format!("{value:#}\n") } else { format!("{value}\n") };
    record(Stream::Output.write(terminal::json(&text).as_bytes()).1);
}

/// Records the result of a write to standard output.
pub(crate) fn record(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
        && !LOST.swap(true, Ordering::Relaxed)
    {
        print_error(&format!("cannot write to standard output: {error}"));
    }
}

/// Writes the [`ListenAnnouncement`] of `url`, as [`announce`] does.
pub(crate) fn announce_address(url: String) {
    announce(json!(ListenAnnouncement { listening: url }).to_string());
}

/// Writes a line of a long-running process to standard output, without waiting for the reader.
pub(crate) fn announce(mut line: String) {
    line = terminal::text(&line).into_owned();
    line.push('\n');
    let writing = thread::Builder::new().name("announcement".to_owned()).spawn(move || {
        if let (_, Err(error)) = Stream::Output.write(line.as_bytes()) {
            tracing::warn!(%error, "announcement not written to standard output");
        }
    });
    if let Err(error) = writing {
        tracing::warn!(%error, "announcement not written to standard output: no thread");
    }
}

/// Writes the last line of a long-running process to standard output. Waits for at most 1 s.
pub(crate) fn print_briefly(text: &str) {
    write_within(Stream::Output, terminal::text(text).as_bytes().to_vec(), MESSAGE_TIMEOUT);
}

/// Prints an error on standard error. Waits for at most 1 s.
pub(crate) fn print_error(message: &str) {
    // Further lines are indented, so that none looks like another message.
    let message = message.trim_end().replace('\n', "\n  ");
    let line = format!("caduceus: {}\n", terminal::text(&message));
    if !log::write_line(&line) {
        write_within(Stream::Error, line.into_bytes(), MESSAGE_TIMEOUT);
    }
}

/// Writes on a separate thread, which may remain blocked. Returns whether it finished in time.
fn write_within(stream: Stream, bytes: Vec<u8>, timeout: Duration) -> bool {
    let (done, wait) = mpsc::channel();
    let writing = thread::Builder::new().name("message".to_owned()).spawn(move || {
        let _ = stream.write(&bytes);
        let _ = done.send(());
    });
    writing.is_ok() && wait.recv_timeout(timeout).is_ok()
}

/// Whether the process was started on a terminal: standard input is one.
pub(crate) fn on_terminal() -> bool {
    io::stdin().is_terminal()
}

/// The exit code of a process that ends with `code`, unless output was lost.
pub(crate) fn exit_code(code: ExitCode) -> ExitCode {
    if code == ExitCode::SUCCESS && LOST.load(Ordering::Relaxed) { OUTPUT_FAILED.into() } else { code }
}
