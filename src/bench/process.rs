//! What the kernel says of a process: CPU time, memory, descriptors.

use std::io;
use std::time::Duration;

use caduceus_actors::files::small;

/// CPU time that a process has used, all its threads and both modes.
pub(crate) fn cpu(process: u32) -> io::Result<Duration> {
    let stat = text(process, "stat")?;
    // The second field is the program's name in parentheses, which may hold blanks.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = |index| fields.split_ascii_whitespace().nth(index).and_then(|field| field.parse::<u64>().ok());
    let (Some(user), Some(system)) = (ticks(11), ticks(12)) else { return Err(unreadable("stat")) };
    let second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_micros((user + system) * 1_000_000 / second))
}

/// The same, of the threads that run, to the nanosecond: for less than a hundredth of a second. The time of a thread that ends is lost.
pub(crate) fn cpu_of_threads(process: u32) -> io::Result<Duration> {
    let mut nanos = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let name = thread?.file_name();
        let statistics = small::read_kernel_file(format!("/proc/{process}/task/{}/schedstat", name.display()));
        // It may have ended meanwhile.
        let Some(statistics) = statistics else { continue };
        let time = statistics.split_ascii_whitespace().next().and_then(|time| time.parse::<u64>().ok());
        nanos += time.ok_or_else(|| unreadable("schedstat"))?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Open descriptors of a process.
pub(crate) fn descriptors(process: u32) -> io::Result<u64> {
    Ok(std::fs::read_dir(format!("/proc/{process}/fd"))?.count() as u64)
}

/// Resident memory of a process, in KiB.
pub(crate) fn resident_kib(process: u32) -> io::Result<u64> {
    let status = text(process, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()).and_then(|number| number.parse().ok());
    kib.ok_or_else(|| unreadable("status"))
}

/// CPU time of the calling thread.
pub(crate) fn own_thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn text(process: u32, name: &str) -> io::Result<String> {
    let text = small::read_kernel_file(format!("/proc/{process}/{name}"));
    let gone = || io::Error::new(io::ErrorKind::NotFound, format!("process {process} has ended"));
    text.map(|text| text.to_string()).ok_or_else(gone)
}

fn unreadable(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("/proc/…/{name} has an unknown form"))
}
