//! The process of this gateway, and whether the process of a record runs.

use crate::files::small::read_kernel_file;
use caduceus_contract::files::epoch;
use caduceus_contract::files::process_identity::{ProcessIdentity, RecordedProcess};

/// This process, started with `argv`.
#[must_use]
pub fn own(argv: Vec<String>) -> ProcessIdentity {
    let pid = std::process::id();
    ProcessIdentity::new(pid, argv, start_time(pid))
}

/// Whether exactly this process runs now. Without a start time it cannot be distinguished from a later one with its id.
#[must_use]
pub fn is_alive(written: &RecordedProcess) -> bool {
    written.start_time.is_some() && start_time(written.pid) == written.start_time
}

/// The start time of a process, in ticks since the machine started; `None` if there is no process, or no `/proc`.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    epoch::start_time(&read_kernel_file(format!("/proc/{pid}/stat"))?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_identity_matches_the_running_process() {
        let this = own(vec!["hermes-gateway".to_owned()]);
        let written = RecordedProcess::parse(&this.to_json()).unwrap();
        assert_eq!(written.pid, std::process::id());
        assert!(is_alive(&written));
    }

    #[test]
    fn a_later_process_with_the_same_id_is_another_one() {
        let this = RecordedProcess::parse(&own(Vec::new()).to_json()).unwrap();
        assert!(!is_alive(&RecordedProcess { start_time: this.start_time.map(|time| time + 1), ..this }));
        assert!(!is_alive(&RecordedProcess { start_time: None, ..this }));
    }
}
