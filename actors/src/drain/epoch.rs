//! The boot of the machine, which distinguishes a drain marker of a previous one.

use std::sync::OnceLock;

use crate::files::small::read_kernel_file;
use caduceus_contract::files::epoch::Epoch;

/// The epoch of this machine, `None` without `/proc`. It cannot change while this process runs, so it is read once.
#[must_use]
pub fn current() -> Option<Epoch> {
    static READ: OnceLock<Option<Epoch>> = OnceLock::new();
    READ.get_or_init(read).clone()
}

fn read() -> Option<Epoch> {
    let boot_id = read_kernel_file("/proc/sys/kernel/random/boot_id");
    let stat = read_kernel_file("/proc/1/stat");
    Epoch::from_parts(boot_id.as_ref().map(|text| text.as_str()), stat.as_ref().map(|text| text.as_str()))
}
