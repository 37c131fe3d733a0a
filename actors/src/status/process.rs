//! The system's data about this process; `None` if there is none.

use std::time::Instant;

use caduceus_contract::status::snapshot::ProcessView;
use caduceus_contract::time::millis;

/// Reads all available data. Blocks for a few small files of the kernel.
pub(super) fn view(started: Instant) -> ProcessView {
    ProcessView { resident_bytes: resident(), open_fds: open_fds(), ..bare(started) }
}

/// The data that needs no system call.
pub(super) fn bare(started: Instant) -> ProcessView {
    let uptime_ms = millis(started.elapsed());
    ProcessView { pid: std::process::id(), uptime_ms, resident_bytes: None, open_fds: None }
}

fn resident() -> Option<u64> {
    let statm = crate::files::small::read_kernel_file("/proc/self/statm")?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn open_fds() -> Option<usize> {
    // The directory listing itself holds one open.
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}
