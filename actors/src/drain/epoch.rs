//! The boot of the machine, which distinguishes a drain marker of a previous one.

use std::sync::OnceLock;

use crate::files::small::read_kernel_file;
use caduceus_contract::files::epoch::Epoch;

/// The epoch of this machine, `None` without `/proc`. It cannot change while this process runs, so it is read once.
#[must_use]
pub fn current() -> Option<Epoch> {
    static READ: OnceLock<Epoch> = OnceLock::new();
    if let Some(known) = READ.get() {
        return Some(known.clone());
    }
    // A part that could not be read is read again the next time.
    let (epoch, is_whole) = read();
    epoch.inspect(|epoch| {
        if is_whole {
            let _ = READ.set(epoch.clone());
        }
    })
}

/// What can be read of it, and whether that is all.
fn read() -> (Option<Epoch>, bool) {
    let boot_id = read_kernel_file("/proc/sys/kernel/random/boot_id");
    let stat = read_kernel_file("/proc/1/stat");
    let is_whole = boot_id.is_some() && stat.is_some();
    (Epoch::from_parts(boot_id.as_ref().map(|text| text.as_str()), stat.as_ref().map(|text| text.as_str())), is_whole)
}
