//! The action of the watchdog on a timeout: writes its report and ends the process.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use caduceus_supervision::{Watchdog, WatchdogTimeout};

/// How long the text may take; standard error may have no reader.
const TEXT_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts the watchdog of the process: it ends with 75, or with what was decided before, after an attempt of at most 1 s to
/// write where each actor was to standard error. The end waits neither for the text nor for the log.
///
/// # Errors
/// If no thread can be started.
pub(super) fn start(stale_after: Duration) -> io::Result<Watchdog> {
    Watchdog::start(stale_after, |WatchdogTimeout { cause, report, exit_code }| {
        let code = exit_code.unwrap_or(super::TRY_AGAIN);
        attempt(format!("watchdog: {cause:?}, exit {code}\n{report}"));
        std::process::exit(code.into());
    })
}

/// Writes to standard error, past its lock, which a thread that hangs may hold. The thread that writes may stay behind.
#[expect(clippy::disallowed_methods, reason = "only the descriptor is taken")]
fn attempt(text: String) {
    let (done, written) = mpsc::channel();
    let started = thread::Builder::new().name("watchdog-text".to_owned()).spawn(move || {
        let (stderr, mut left) = (io::stderr(), text.as_bytes());
        while !left.is_empty() {
            match rustix::io::write(stderr.as_fd(), left) {
                Ok(written) => left = &left[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        let _ = done.send(());
    });
    if started.is_ok() {
        let _ = written.recv_timeout(TEXT_TIMEOUT);
    }
}
