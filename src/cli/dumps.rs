//! Keeps the memory of this process from other processes of its user.

use std::io;

/// No core file and no look into our memory for other processes of this user.
pub(super) fn forbid_dumps() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
