//! What the system says of this process; `None` where it does not.

use std::time::Instant;

use caduceus_contract::status::snapshot::ProcessView;
use caduceus_contract::time::millis;

/// Reads what there is to read. Blocks for the length of a few small files of the kernel.
pub(super) fn view(started: Instant) -> ProcessView {
    ProcessView { resident_bytes: resident(), open_fds: open_fds(), ..bare(started) }
}

/// What is known without asking the system.
pub(super) fn bare(started: Instant) -> ProcessView {
    let uptime_ms = millis(started.elapsed());
    ProcessView { pid: std::process::id(), uptime_ms, resident_bytes: None, open_fds: None }
}

fn resident() -> Option<u64> {
    let statm = crate::files::small::of_the_kernel("/proc/self/statm")?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn open_fds() -> Option<usize> {
    // The look itself holds one open.
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}
