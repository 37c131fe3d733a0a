//! Keeps the memory of this process from other processes of its user.

use std::io;

use crate::out;

/// Forbids core files, and other processes of this user to read the memory of this one.
pub(super) fn forbid_dumps() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// [`forbid_dumps`] for a command, which continues after a failure: the error is printed on standard error.
pub(super) fn try_forbid_dumps() {
    if let Err(error) = forbid_dumps() {
        out::print_error(&format!("other processes of this user can read the memory of this process: {error}"));
    }
}
