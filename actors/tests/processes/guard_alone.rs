//! The guard alone, and a stand-in for a gateway that only holds one, for the tests of this crate.
//!
//! `guard -- COMMAND…` is what the gateway's own subcommand does. `hold -- COMMAND…` starts a guard for the command as the
//! gateway does, reports it on standard output, and waits to be killed.

#![allow(clippy::disallowed_methods, reason = "it stands in for the gateway in a test")]

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use caduceus_actors::turn::guard;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let role = arguments.next();
    let command: Vec<OsString> = arguments.skip_while(|argument| argument != "--").skip(1).collect();
    match role.as_deref().and_then(|role| role.to_str()) {
        Some("guard") => guard::run(&command).unwrap_or(ExitCode::from(guard::BROKEN)),
        Some("hold") => hold(&command).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        _ => ExitCode::FAILURE,
    }
}

#[expect(clippy::disallowed_methods, reason = "the test reads it")]
fn hold(command: &[OsString]) -> std::io::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut guard = Command::new(std::env::current_exe()?)
        .args(["guard", "--"])
        .args(command)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    guard::give_pipes(&ours, [null.as_fd(), null.as_fd(), null.as_fd()])?;
    guard::wait_started(&ours, Duration::from_secs(10))??;
    println!("holding");
    std::io::stdout().flush()?;
    guard.wait()?;
    Ok(())
}
