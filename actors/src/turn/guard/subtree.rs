//! All processes below this one, in any group or session; and all processes of a turn, wherever they are.

use std::time::Duration;

use rustix::process::Signal;

use caduceus_contract::turn_id::TurnId;

/// Sends `signal` to every process below this one. One that has ended meanwhile is not an error.
pub(super) fn signal(signal: Signal) {
    #[cfg(target_os = "linux")]
    linux::signal_below(rustix::process::getpid(), signal);
    // On other systems, processes that left the group are out of reach, and SIGKILL ends the guard too.
    #[cfg(not(target_os = "linux"))]
    let _ = rustix::process::kill_current_process_group(signal);
}

/// Kills every process that has one of `turns` in its environment, and returns when there is none; after `timeout` at the
/// latest. For the processes left when a guard could not do its work. Blocks.
pub fn end_turns(turns: &[TurnId], timeout: Duration) {
    #[cfg(target_os = "linux")]
    linux::end_turns(turns, timeout);
    // On other systems the environment of another process cannot be read.
    #[cfg(not(target_os = "linux"))]
    let _ = (turns, timeout);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashMap;
    use std::fs;
    use std::path::Path;
    use std::thread;
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    use crate::files::{Symlinks, small};
    use crate::profile::child_env::TURN_ID;
    use caduceus_contract::turn_id::TurnId;

    /// Interval of rounds.
    const AGAIN: Duration = Duration::from_millis(20);

    pub(super) fn signal_below(top: Pid, signal: Signal) {
        for (pid, parent) in below(top.as_raw_nonzero().get(), &processes()) {
            let Some(target) = Pid::from_raw(pid) else { continue };
            // The number may have been given to another process since the list was read; a descriptor is stable.
            let Ok(pidfd) = pidfd_open(target, PidfdFlags::empty()) else { continue };
            if parent_of(pid).is_some_and(|now| now == parent || now == top.as_raw_nonzero().get()) {
                // It may have ended by now.
                let _ = pidfd_send_signal(&pidfd, signal);
            }
        }
    }

    pub(super) fn end_turns(turns: &[TurnId], timeout: Duration) {
        let marks: Vec<String> = turns.iter().map(|turn| format!("{TURN_ID}={turn}")).collect();
        let deadline = Instant::now() + timeout;
        // A round misses processes forked during it.
        while Instant::now() < deadline && kill_marked(&marks) > 0 {
            thread::sleep(AGAIN);
        }
    }

    /// Returns how many there were.
    fn kill_marked(marks: &[String]) -> usize {
        let is_marked = |pid: i32| {
            // A process that has ended meanwhile, or of another user, is skipped.
            let environment =
                small::read(Path::new(&format!("/proc/{pid}/environ")), small::KERNEL_LIMIT, Symlinks::Follow);
            let environment = environment.map(|contents| contents.bytes).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|pair| marks.iter().any(|mark| mark.as_bytes() == pair))
        };
        let marked = pids().filter(|pid| is_marked(*pid)).filter_map(Pid::from_raw);
        let kill = |pid: Pid| {
            // The number may be another process's by now; a descriptor is stable, so it is checked once more.
            if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty())
                && is_marked(pid.as_raw_nonzero().get())
            {
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            }
        };
        marked.map(kill).count()
    }

    fn pids() -> impl Iterator<Item = i32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    /// Every process and its parent.
    fn processes() -> Vec<(i32, i32)> {
        pids().filter_map(|pid| Some((pid, parent_of(pid)?))).collect()
    }

    fn parent_of(pid: i32) -> Option<i32> {
        parse_parent(&small::read_kernel_file(format!("/proc/{pid}/stat"))?)
    }

    /// The fourth field. The second is the command's name, which may have blanks and brackets.
    pub(super) fn parse_parent(stat: &str) -> Option<i32> {
        stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    /// The processes below `top` with their parents, parents first.
    pub(super) fn below(top: i32, processes: &[(i32, i32)]) -> Vec<(i32, i32)> {
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for (pid, parent) in processes {
            children.entry(*parent).or_default().push(*pid);
        }
        let mut found: Vec<(i32, i32)> = Vec::new();
        let mut parents = vec![top];
        while let Some(parent) = parents.pop() {
            // Removed from the list, so that a list that changed while it was read cannot cause a loop.
            // And `top` is the guard itself, which must outlive all of them.
            for child in children.remove(&parent).unwrap_or_default().into_iter().filter(|child| *child != top) {
                found.push((child, parent));
                parents.push(child);
            }
        }
        found
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::linux::{below, parse_parent};

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parse_parent("7 (a) b) 1 2) S 42 7 7 0"), Some(42));
        assert_eq!(parse_parent("garbage"), None);
    }

    #[test]
    fn only_descendants_are_found_even_in_a_cycle() {
        let processes = [(2, 1), (3, 2), (4, 3), (5, 1), (6, 6), (1, 4)];
        let mut found: Vec<i32> = below(2, &processes).into_iter().map(|(pid, _)| pid).collect();
        found.sort_unstable();
        assert_eq!(found, [1, 3, 4, 5]);
        assert!(below(9, &processes).is_empty());
    }
}
