//! The boot of the machine, which distinguishes a drain marker of a previous one.

use crate::files::small::read_kernel_file;
use caduceus_contract::files::epoch::Epoch;

/// Reads the epoch of this machine, `None` without `/proc`. It cannot change while this process runs: read it once.
#[must_use]
pub fn current() -> Option<Epoch> {
    let boot_id = read_kernel_file("/proc/sys/kernel/random/boot_id");
    let stat = read_kernel_file("/proc/1/stat");
    Epoch::from_parts(boot_id.as_ref().map(|text| text.as_str()), stat.as_ref().map(|text| text.as_str()))
}
