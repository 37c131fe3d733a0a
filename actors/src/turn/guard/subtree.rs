//! All processes below this one, in any group or session; and all processes of a turn, wherever they are.

use std::time::Duration;

use rustix::process::{Pid, Signal};

use caduceus_contract::turn_id::TurnId;

/// Sends `signal` to every process below this one. One that has ended meanwhile is not an error.
pub(super) fn signal(signal: Signal) {
    #[cfg(target_os = "linux")]
    linux::signal_below(rustix::process::getpid(), signal);
    // On other systems, processes that left the group are out of reach, and SIGKILL ends the guard too.
    #[cfg(not(target_os = "linux"))]
    let _ = rustix::process::kill_current_process_group(signal);
}

/// Kills every process that has one of `turns` in its environment, with those below it and in its session, and those in the session of
/// `guard`, the process id of a guard that has ended. Returns when there is none; after `timeout` at the latest. For the processes left
/// when a guard could not do its work. Blocks.
pub fn end_turns(turns: &[TurnId], guard: Option<Pid>, timeout: Duration) {
    #[cfg(target_os = "linux")]
    linux::end_turns(turns, guard, timeout);
    // On other systems the environment of another process cannot be read.
    #[cfg(not(target_os = "linux"))]
    let _ = (turns, guard, timeout);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::{HashMap, HashSet};
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
            if process_of(pid).is_some_and(|now| now.parent == parent || now.parent == top.as_raw_nonzero().get()) {
                // It may have ended by now.
                let _ = pidfd_send_signal(&pidfd, signal);
            }
        }
    }

    pub(super) fn end_turns(turns: &[TurnId], guard: Option<Pid>, timeout: Duration) {
        let marks: Vec<String> = turns.iter().map(|turn| format!("{TURN_ID}={turn}")).collect();
        let own_session = own_session();
        let mut sessions = guard.into_iter().map(|guard| guard.as_raw_nonzero().get()).collect();
        let deadline = Instant::now() + timeout;
        // A round misses processes forked during it.
        while Instant::now() < deadline && kill_round(&marks, own_session, &mut sessions) > 0 {
            thread::sleep(AGAIN);
        }
    }

    /// Kills what [`of_turns`] finds now, and returns how many there were.
    fn kill_round(marks: &[String], own_session: i32, sessions: &mut HashSet<i32>) -> usize {
        let mut processes = processes();
        // A gateway that an agent started has the mark too.
        let own = rustix::process::getpid().as_raw_nonzero().get();
        processes.retain(|process| process.pid != own);
        let marked = processes.iter().map(|process| process.pid).filter(|pid| is_marked(*pid, marks)).collect();
        let found = of_turns(&processes, &marked, own_session, sessions);
        for process in &found {
            // The number may be another process's by now; a descriptor is stable, so it is checked once more.
            if let Some(pid) = Pid::from_raw(process.pid)
                && let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty())
                && (is_marked(process.pid, marks)
                    || process_of(process.pid).is_some_and(|now| now.session == process.session))
            {
                // It may have ended by now.
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            }
        }
        found.len()
    }

    /// Zero when another process namespace has the leader, as in a container.
    fn own_session() -> i32 {
        process_of(rustix::process::getpid().as_raw_nonzero().get()).map_or(0, |own| own.session)
    }

    fn is_marked(pid: i32, marks: &[String]) -> bool {
        // A process that has ended meanwhile, or of another user, is skipped.
        let environment =
            small::read(Path::new(&format!("/proc/{pid}/environ")), small::KERNEL_LIMIT, Symlinks::Follow);
        let environment = environment.map(|contents| contents.bytes).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|pair| marks.iter().any(|mark| mark.as_bytes() == pair))
    }

    /// The running processes of the turns: those with a mark, those below them, and those in a session of the turns that no running
    /// process leads. A guard leads the session of its agent, so a child that cleared its environment is found there, also when a guard
    /// and its agent have ended in the meantime. `sessions` has the sessions of guards, and keeps those that were found.
    pub(super) fn of_turns(
        processes: &[Process],
        marked: &HashSet<i32>,
        own_session: i32,
        sessions: &mut HashSet<i32>,
    ) -> Vec<Process> {
        let running = || processes.iter().filter(|process| !process.ended);
        // A session that another process leads, for example the shell of an operator who tries the agent's command, is not a turn's,
        // and does not become one when that process ends.
        let foreign: HashSet<i32> = running()
            .filter(|process| process.pid == process.session && !marked.contains(&process.pid))
            .map(|process| process.session)
            .chain([0, own_session])
            .collect();
        let of_marked = running().filter(|process| marked.contains(&process.pid)).map(|process| process.session);
        sessions.extend(of_marked.filter(|session| !foreign.contains(session)));
        let in_session = |process: &Process| sessions.contains(&process.session) && !foreign.contains(&process.session);
        let tops = running().filter(|process| marked.contains(&process.pid) || in_session(process));
        let mut found: HashSet<i32> = tops.map(|process| process.pid).collect();
        for top in found.clone() {
            found.extend(below(top, processes).into_iter().map(|(pid, _)| pid));
        }
        running().filter(|process| found.contains(&process.pid)).copied().collect()
    }

    fn pids() -> impl Iterator<Item = i32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
    }

    /// What `/proc/PID/stat` says of a process.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) struct Process {
        pub(super) pid: i32,
        pub(super) parent: i32,
        pub(super) session: i32,
        /// It waits for its parent to read its exit status.
        pub(super) ended: bool,
    }

    fn processes() -> Vec<Process> {
        pids().filter_map(process_of).collect()
    }

    fn process_of(pid: i32) -> Option<Process> {
        parse(pid, &small::read_kernel_file(format!("/proc/{pid}/stat"))?)
    }

    /// Fields three to six: state, parent, group and session. The second is the command's name, which may have blanks and brackets.
    pub(super) fn parse(pid: i32, stat: &str) -> Option<Process> {
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let ended = matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        Some(Process { pid, parent, session, ended })
    }

    /// The processes below `top` with their parents, parents first.
    pub(super) fn below(top: i32, processes: &[Process]) -> Vec<(i32, i32)> {
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for process in processes {
            children.entry(process.parent).or_default().push(process.pid);
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
    use std::collections::HashSet;

    use super::linux::{Process, below, of_turns, parse};

    const OWN_SESSION: i32 = 1;

    fn process(pid: i32, parent: i32, session: i32) -> Process {
        Process { pid, parent, session, ended: false }
    }

    fn found(processes: &[Process], marked: &[i32], sessions: &mut HashSet<i32>) -> Vec<i32> {
        let marked = marked.iter().copied().collect();
        of_turns(processes, &marked, OWN_SESSION, sessions).into_iter().map(|process| process.pid).collect()
    }

    #[test]
    fn the_state_the_parent_and_the_session_are_found_behind_any_name() {
        assert_eq!(parse(7, "7 (a) b) 1 2) S 42 8 9 0"), Some(process(7, 42, 9)));
        assert_eq!(parse(7, "7 (a) Z 42 8 9 0"), Some(Process { ended: true, ..process(7, 42, 9) }));
        assert_eq!(parse(7, "garbage"), None);
        assert_eq!(parse(7, "7 (a) S 42"), None);
    }

    #[test]
    fn only_descendants_are_found_even_in_a_cycle() {
        let processes = [(2, 1), (3, 2), (4, 3), (5, 1), (6, 6), (1, 4)].map(|(pid, parent)| process(pid, parent, 1));
        let mut found: Vec<i32> = below(2, &processes).into_iter().map(|(pid, _)| pid).collect();
        found.sort_unstable();
        assert_eq!(found, [1, 3, 4, 5]);
        assert!(below(9, &processes).is_empty());
    }

    #[test]
    fn a_child_without_an_environment_is_found_below_a_marked_process_and_in_the_session_that_its_guard_left() {
        // 20 was the guard. 30 and 31 have the mark; 40 is below 30 in a session of its own, 41 was left to process 1.
        let processes =
            [process(30, 1, 20), process(31, 30, 31), process(40, 30, 40), process(41, 1, 20), process(50, 1, 50)];
        let mut sessions = HashSet::new();
        assert_eq!(found(&processes, &[30, 31], &mut sessions), [30, 31, 40, 41]);
        // What it forked in the meantime is found when no marked process is left.
        assert_eq!(found(&[process(42, 1, 20), process(50, 1, 50)], &[], &mut sessions), [42]);
        assert!(found(&[Process { ended: true, ..process(42, 1, 20) }], &[], &mut sessions).is_empty());
        // The guard is not reaped yet: it leads no longer.
        let reaped_later = [Process { ended: true, ..process(20, 1, 20) }, process(42, 1, 20)];
        assert_eq!(found(&reaped_later, &[], &mut sessions), [42]);
    }

    #[test]
    fn a_child_without_an_environment_is_found_by_the_guard_alone() {
        let mut sessions = HashSet::from([20]);
        assert_eq!(found(&[process(41, 1, 20), process(50, 1, 50)], &[], &mut sessions), [41]);
    }

    #[test]
    fn a_session_of_the_gateway_or_of_a_running_process_without_the_mark_is_left_alone() {
        let own = [process(1, 0, OWN_SESSION), process(30, 1, OWN_SESSION), process(5, 1, OWN_SESSION)];
        assert_eq!(found(&own, &[30], &mut HashSet::new()), [30]);
        // The shell of an operator who runs the agent's command with a copy of its environment.
        let shell = [process(60, 1, 60), process(61, 60, 60), process(62, 60, 60)];
        let mut sessions = HashSet::new();
        assert_eq!(found(&shell, &[61], &mut sessions), [61]);
        // It ends before the next round.
        assert!(found(&[process(62, 1, 60)], &[], &mut sessions).is_empty());
        assert_eq!(found(&[process(2, 0, 0), process(70, 2, 0)], &[70], &mut HashSet::new()), [70]);
    }
}
