//! Reads which boot of the machine this is.

use crate::files::small::of_the_kernel;
use caduceus_contract::files::epoch::Epoch;

/// Reads the epoch of this machine, `None` without `/proc`. It cannot change while this process runs: ask once.
#[must_use]
pub fn current() -> Option<Epoch> {
    let boot_id = of_the_kernel("/proc/sys/kernel/random/boot_id");
    let stat = of_the_kernel("/proc/1/stat");
    Epoch::from_parts(boot_id.as_ref().map(|text| text.as_str()), stat.as_ref().map(|text| text.as_str()))
}
