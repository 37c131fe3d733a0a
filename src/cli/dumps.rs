//! Keeps the memory of this process from other processes of its user.

use std::io;

/// Forbids core files, and other processes of this user to read the memory of this one.
pub(super) fn forbid_dumps() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
